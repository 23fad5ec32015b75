# An image of twistpi: docker build --tag twistpi .
#
#   docker run --detach --name twistpi --publish 127.0.0.1:3141:3141 --volume twistpi:/data twistpi
#   docker exec --interactive --tty twistpi twistpi passwd root
#
# Settings are environment variables (TWISTPI_MAX_UPLOAD_SIZE=1G) or options behind the image's name. All data is in the volume /data.

ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
COPY . /source
RUN python3 -m venv /opt/twistpi \
    && /opt/twistpi/bin/pip install --no-cache-dir --constraint /source/requirements-dev.lock /source \
    && /opt/twistpi/bin/twistd --help > /dev/null  # writes the cache of plugins

FROM ${PYTHON}
COPY --from=build /opt/twistpi /opt/twistpi
RUN useradd --system --uid 3141 --home-dir /data --shell /usr/sbin/nologin twistpi \
    && install --directory --owner=twistpi --group=twistpi --mode=0750 /data
ENV PATH=/opt/twistpi/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TWISTPI_SERVERDIR=/data \
    TWISTPI_HOST=0.0.0.0
USER twistpi
WORKDIR /data
VOLUME /data
EXPOSE 3141
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3141/+health', timeout=4)"]
ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "twistpi"]
