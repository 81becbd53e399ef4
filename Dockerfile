# One image for everything: controller, movers, command line. Built with tools, run without them.
#   docker build -t recoup .
# BASE is any glibc image with Python 3.11 or newer (glibc, because MALLOC_* below halves the time of large reads); BUILDER
# needs `python3 -m venv` besides, and the same Python at the same path.
ARG BASE=python:3.12-slim
ARG BUILDER=${BASE}

# The locked dependencies: a layer that changes with uv.lock only.
FROM ${BUILDER} AS dependencies
# Where packages come from: the index, or for a build without network for instance "--no-index --find-links /wheels".
ARG PACKAGES=""
WORKDIR /src
RUN python3 -m venv /tools && /tools/bin/pip install --quiet --disable-pip-version-check ${PACKAGES} uv==0.13.9 hatchling==1.31.0
COPY pyproject.toml uv.lock ./
RUN /tools/bin/uv export --quiet --frozen --extra operator --no-dev --no-emit-project --output-file /requirements.txt \
 && python3 -m venv --without-pip /opt/recoup \
 && /tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/recoup --require-hashes ${PACKAGES} -r /requirements.txt

# The product itself, laid out to be put over the dependencies.
FROM dependencies AS product
COPY README.md LICENSE ./
COPY operator operator
RUN /tools/bin/uv build --quiet --offline --wheel --no-build-isolation --python /tools --out-dir /dist \
 && /tools/bin/uv pip install --quiet --no-cache --no-index --no-deps --compile-bytecode --python /opt/recoup --prefix /product /dist/*.whl

FROM ${BASE}
COPY --from=dependencies /opt/recoup /opt/recoup
COPY --from=product /product /opt/recoup
# Large buffers stay with the process instead of going back to the kernel after each use; few arenas keep memory bounded.
ENV PATH=/opt/recoup/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_MMAP_THRESHOLD_=67108864 \
    MALLOC_TRIM_THRESHOLD_=268435456 \
    MALLOC_ARENA_MAX=2
# Movers run as root with capabilities dropped, to read files of any owner; the chart runs the controller as uid 65532.
# Nothing is written outside /tmp: the root file system may be read-only for both.
WORKDIR /tmp
ENTRYPOINT ["recoup"]
