# What starts ServerApps and ClientApps, with all that they import. From the repository's root:
#   docker build -f examples/docker/app.Dockerfile .
ARG FLWR_VERSION=1.42.0
FROM flwr/superexec:${FLWR_VERSION}

# PyPI's torch brings CUDA along, six gigabytes; with GPUs: https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m pip install --no-cache-dir --index-url ${TORCH_INDEX} torch torchvision

COPY --chown=app:app pyproject.toml README.md LICENSE /app/source/
COPY --chown=app:app fsl_sage_flwr /app/source/fsl_sage_flwr/
# Ray is for simulations alone.
RUN sed -i 's/flwr\[simulation\]/flwr/' /app/source/pyproject.toml \
    && python -m pip install --no-cache-dir /app/source \
    && mkdir /app/results

ENTRYPOINT ["flower-superexec"]
