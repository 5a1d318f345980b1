# The dashboard: Streamlit over central's HTTP API; no database, no broker.
FROM docker.io/library/python:3.11-slim-bookworm
WORKDIR /opt/sightline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY contracts contracts
COPY dashboard dashboard
RUN pip install --no-cache-dir -c constraints.txt ".[dashboard]" \
 && useradd --uid 10001 --create-home sightline
USER 10001
EXPOSE 8501
ENTRYPOINT ["sightline-dashboard"]
CMD ["--address", "0.0.0.0", "--central", "http://central:8000"]
