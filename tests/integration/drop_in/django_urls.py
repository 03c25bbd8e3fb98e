"""The URLs of the Django project, and its one view."""

from django.http import JsonResponse
from django.urls import path


def where(request, name=''):
    return JsonResponse({
        'scheme': request.scheme,
        'path': request.path,
        'name': name,
        'process_group': request.META['mod_wsgi.process_group'],
    })


urlpatterns = [path('', where), path('view/<name>', where)]
