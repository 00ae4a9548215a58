# The image of every process of Berth; docker-compose.yml says which one a container runs.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# The folder belongs to the user, so that a new volume on it does too.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin berth \
    && install --directory --owner=berth --mode=0700 /var/lib/berth

WORKDIR /app

# Ready-made wheels only: no compiler, and nothing is built from what an index hands out. The
# embedded engines are left out, because here valkey and mongo are containers of their own.
COPY requirements-production.txt .
RUN pip install --no-cache-dir --only-binary=:all: -r requirements-production.txt

# Owned by root: the processes can read the program and not change it.
COPY . .
RUN python -m compileall -q .

USER berth
EXPOSE 8080
CMD ["gunicorn", "-c", "embedded/gunicorn_conf.py", "app_queue:create_app()"]
