# Central with a trainer beside it: the smallest plant trains on the same machine (CPU build of torch).
FROM docker.io/library/python:3.11-slim-bookworm
WORKDIR /opt/sightline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY contracts contracts
COPY central central
COPY models models
# Reports embed DejaVu: without it Greek and Cyrillic words would stand there as numbers.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-dejavu-core && rm -rf /var/lib/apt/lists/*
# --build-arg PIP_EXTRA_INDEX_URL=… : an index with the CPU build of torch keeps gigabytes of CUDA out of the image.
ARG PIP_EXTRA_INDEX_URL=
RUN pip install --no-cache-dir -c constraints.txt torch==2.13.0 \
 && pip install --no-cache-dir -c constraints.txt ".[central,models]" \
 && useradd --uid 10001 --create-home sightline \
 && install -d -o sightline /var/lib/sightline
USER 10001
VOLUME /var/lib/sightline
EXPOSE 8000
ENTRYPOINT ["sightline-central"]
CMD ["run", "--settings", "/var/lib/sightline/central.toml"]
