# The image of the Beam workers for Dataflow, Flink and Spark: Beam's boot binary from its SDK image, Longreel's wheel, no root.
#   docker build --tag longreel-worker .
#   longreel run … --engine dataflow --dataflow.image REGISTRY/longreel-worker …
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml README.md LICENSE longreel.py ./
COPY schemas schemas
COPY tokenizer tokenizer
COPY pipeline pipeline
COPY trainer trainer
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.11.14-slim-bookworm
WORKDIR /opt/longreel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 JAX_PLATFORMS=cpu
COPY constraints.txt ./
COPY --from=build /wheels /wheels
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN wheel=$(ls /wheels/longreel-*.whl) \
  && pip install --constraint constraints.txt "longreel[pipeline,s3,gcs,dask,dataflow] @ file://$wheel" \
  && useradd --create-home --uid 10001 longreel
COPY --from=beam /opt/apache/beam /opt/apache/beam
USER 10001
WORKDIR /home/longreel
# Fails if the installed package lacks the command or a dependency of its jobs.
RUN longreel --version && longreel run --help > /dev/null
ENTRYPOINT ["/opt/apache/beam/boot"]
