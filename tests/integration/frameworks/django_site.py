"""A Django project in one file: its admin on SQLite, a form, a file, a stream."""

import os

import django
from django import forms
from django.conf import settings

ROOT = os.path.dirname(os.path.abspath(__file__))

settings.configure(
    SECRET_KEY='for tests',
    DEBUG=False,
    ALLOWED_HOSTS=['*'],
    ROOT_URLCONF=__name__,
    DATABASES={'default': {
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': os.path.join(ROOT, 'data', 'db.sqlite3'),
    }},
    INSTALLED_APPS=[
        'django.contrib.admin', 'django.contrib.auth', 'django.contrib.contenttypes',
        'django.contrib.messages', 'django.contrib.sessions', 'django.contrib.staticfiles',
    ],
    MIDDLEWARE=[
        'django.middleware.security.SecurityMiddleware',
        'django.contrib.sessions.middleware.SessionMiddleware',
        'django.middleware.common.CommonMiddleware',
        'django.middleware.csrf.CsrfViewMiddleware',
        'django.contrib.auth.middleware.AuthenticationMiddleware',
        'django.contrib.messages.middleware.MessageMiddleware',
    ],
    TEMPLATES=[{
        'BACKEND': 'django.template.backends.django.DjangoTemplates',
        'APP_DIRS': True,
        'OPTIONS': {'context_processors': [
            'django.template.context_processors.request',
            'django.contrib.auth.context_processors.auth',
            'django.contrib.messages.context_processors.messages',
        ]},
    }],
    DEFAULT_AUTO_FIELD='django.db.models.BigAutoField',
    PASSWORD_HASHERS=['django.contrib.auth.hashers.MD5PasswordHasher'],
    STATIC_URL='static/',
    USE_TZ=True,
)
django.setup()

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.urls import path, re_path

FORM = """<form method="post">{% csrf_token %}{{ form }}</form>"""


class Message(forms.Form):
    text = forms.CharField()


def form(request):
    message = Message(request.POST or None)
    if message.is_valid():
        return HttpResponse('got ' + message.cleaned_data['text'])
    template = engines['django'].from_string(FORM)
    return HttpResponse(template.render({'form': message}, request))


def source(request):
    return FileResponse(open(__file__, 'rb'))


def stream(request):
    return StreamingHttpResponse(f'{number}\n' for number in range(5))


def broken(request):
    raise RuntimeError('Django logs this')


urlpatterns = [
    path('admin/', admin.site.urls),
    path('form/', form),
    path('source/', source),
    path('stream/', stream),
    path('broken/', broken),
    re_path('^static/(?P<path>.*)$', serve, {'insecure': True}),
]

application = get_wsgi_application()


def prepare():
    """Makes the database, with an administrator. Run before the server is started."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    call_command('migrate', verbosity=0)
    User.objects.create_superuser('admin', 'admin@example.com', 'secret')
