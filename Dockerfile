# bloodcell with Ray, Submitit, Optuna and the GPU libraries of TensorFlow, for every node of a cluster: docs/clusters.md
FROM docker.io/library/python:3.12-slim
RUN pip install --no-cache-dir uv
WORKDIR /opt/bloodcell
COPY . .
RUN uv sync --locked --no-default-groups --no-editable --compile-bytecode --extra ray --extra slurm --extra optuna --extra cuda
ENV PATH=/opt/bloodcell/.venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["bloodcell"]
