"""The settings of a Django project that `manage.py runmodwsgi` serves."""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = 'only for tests'
ALLOWED_HOSTS = ['*']
INSTALLED_APPS = ['django.contrib.staticfiles', 'mod_wsgi.express']
ROOT_URLCONF = 'project.urls'
WSGI_APPLICATION = 'project.wsgi.application'
STATIC_URL = '/static/'
STATIC_ROOT = BASE_DIR / 'collected'
