# pairstill and the packages that it needs; the default is a small image for CPUs.
#   docker build -t pairstill .
#   docker build -t pairstill:gpu --build-arg TORCH=cu126 .      # CUDA libraries come with torch; the host needs only a driver
#   docker run --rm -v "$PWD":/work pairstill quickstart --run_dir runs/quickstart
#   docker run --rm --gpus all -v "$PWD":/work pairstill:gpu run --config SETTINGS --run_dir runs/mine
FROM python:3.12-slim

# what torch is built for: cpu, or a version of CUDA that uv knows, such as cu126
ARG TORCH=cpu
# which extras are installed: see docs/install.md
ARG EXTRAS=all

RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
RUN uv pip install --system --no-cache --torch-backend "$TORCH" ".[$EXTRAS]" && rm -rf /src/*

# a mounted folder belongs to whoever runs the container: docker run --user "$(id -u):$(id -g)" ...
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
RUN mkdir -p /work && chmod 1777 /work
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["pairstill"]
CMD ["--help"]
