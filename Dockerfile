# The image of the Beam workers for Flink, Spark and Dataflow: Beam's boot binary from its SDK image, Longreel, no root.
#   docker build --tag longreel-worker .
#   longreel run … -- --runner=FlinkRunner --environment_type=DOCKER --environment_config=longreel-worker
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11.14-slim-bookworm
WORKDIR /opt/longreel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 JAX_PLATFORMS=cpu
COPY constraints.txt pyproject.toml README.md LICENSE longreel.py ./
COPY schemas schemas
COPY tokenizer tokenizer
COPY pipeline pipeline
COPY trainer trainer
RUN pip install --constraint constraints.txt '.[pipeline]' && useradd --create-home --uid 10001 longreel
COPY --from=beam /opt/apache/beam /opt/apache/beam
USER 10001
WORKDIR /home/longreel
# Fails if the installed package lacks the command or a dependency of its jobs.
RUN longreel --version && longreel run --help > /dev/null
ENTRYPOINT ["/opt/apache/beam/boot"]
