# One image for every process of the Procfile; the command says which. `make run` needs none of this.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

RUN useradd --system --create-home --uid 10001 surefile
WORKDIR /app

COPY requirements.txt ./
RUN pip install -r requirements.txt

COPY wsgi.py gunicorn.conf.py Procfile ./
COPY flaskapp ./flaskapp
COPY jobs ./jobs
COPY migrations ./migrations
COPY outbox ./outbox
RUN python -m compileall -q .

USER surefile
EXPOSE 8000
CMD ["gunicorn", "wsgi:app"]
