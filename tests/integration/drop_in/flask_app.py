"""A Flask application that tells where and how it runs. `helper` is a module that tests change."""

import os

import mod_wsgi
from flask import Flask, jsonify, request

import helper

TEXT = 'one'

application = Flask(__name__)


@application.route('/')
@application.route('/below/<path>')
def where(path=''):
    return jsonify(
        text=TEXT,
        helper=helper.TEXT,
        scheme=request.scheme,
        host=request.host,
        url=request.url,
        root=request.script_root,
        path=request.path,
        user=str(request.environ.get('REMOTE_USER')),
        set=str(request.environ.get('SET')),
        process_group=request.environ['mod_wsgi.process_group'],
        application_group=request.environ['mod_wsgi.application_group'],
        version='.'.join(str(number) for number in mod_wsgi.version),
        express=os.environ.get('MOD_WSGI_EXPRESS', 'no'),
        pid=str(os.getpid()),
    )


@application.post('/echo')
def echo():
    return request.get_data()


@application.route('/fail')
def fail():
    raise ValueError('on purpose')
