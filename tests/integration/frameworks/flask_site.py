"""A Flask application that uses what applications use: forms, JSON, uploads, sessions, files."""

import hashlib
import io

from flask import Flask, abort, jsonify, redirect, request, send_file, session, stream_with_context, url_for

app = Flask(__name__)
app.secret_key = 'for tests'


@app.get('/')
def index():
    return '<h1>Hello from Flask</h1>'


@app.get('/greet/<name>')
def greet(name):
    return f'Hello, {name}!', {'X-Greeted': 'yes'}


@app.post('/form')
def form():
    return '&'.join(f'{key}={value}' for key, value in sorted(request.form.items(multi=True)))


@app.post('/json')
def json():
    return jsonify(received=request.get_json(), url=request.url, query=request.args)


@app.post('/upload')
def upload():
    file = request.files['file']
    digest = hashlib.sha256(file.read()).hexdigest()
    return f'{file.filename} {file.content_type} {digest}'


@app.get('/count')
def count():
    session['count'] = session.get('count', 0) + 1
    return str(session['count'])


@app.get('/stream')
def stream():
    def numbers():
        for number in range(5):
            yield f'{number} {request.path}\n'
    return stream_with_context(numbers())


@app.get('/file')
def file():
    return send_file(__file__, mimetype='text/x-python')


@app.get('/bytes')
def from_memory():
    return send_file(io.BytesIO(bytes(range(256))), mimetype='application/octet-stream')


@app.get('/away')
def away():
    return redirect(url_for('greet', name='you'))


@app.get('/teapot')
def teapot():
    abort(418)


@app.get('/broken')
def broken():
    raise RuntimeError('Flask logs this')
