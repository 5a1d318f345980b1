# The station: sightline[edge] and nothing else. A build fails if torch found its way in.
FROM docker.io/library/python:3.11-slim-bookworm
WORKDIR /opt/sightline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY contracts contracts
COPY edge_agent edge_agent
RUN pip install --no-cache-dir -c constraints.txt ".[edge]" \
 && ! python -c "import torch" 2>/dev/null \
 && useradd --uid 10001 --create-home sightline \
 && install -d -o sightline /var/lib/sightline
USER 10001
VOLUME /var/lib/sightline
ENTRYPOINT ["sightline-edge"]
CMD ["run", "--settings", "/etc/sightline/station.toml"]
