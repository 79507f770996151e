# The images of docker-compose.yml, on the same base as the image of a run: `server` (also the door) and `caddy`.
# build-server.sh makes the context: Helm and its packages, and Caddy where the base comes from the distribution's packages.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS caddy
COPY caddy /usr/bin
RUN if ! command -v caddy >/dev/null; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends caddy ca-certificates; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    caddy version
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/data/config
COPY Caddyfile /etc/caddy/Caddyfile
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]

FROM ${BASE} AS server
RUN if ! { command -v python3 && command -v git && command -v curl; } >/dev/null; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 git ca-certificates curl procps; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    python3 -m venv --without-pip /opt/helm/venv; \
    printf '%s\n' /opt/helm/site /opt/helm/src >"$(echo /opt/helm/venv/lib/python3*/site-packages)/helm.pth"; \
    printf '%s\n' '#!/opt/helm/venv/bin/python3' 'import sys' 'from app.cli import main' 'sys.exit(main())' >/usr/local/bin/helm; \
    chmod 0755 /usr/local/bin/helm
COPY site /opt/helm/site
RUN /opt/helm/venv/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/helm/site
COPY src /opt/helm/src
ENV LANG=C.UTF-8 PATH=/opt/helm/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
WORKDIR /opt/helm/src
CMD ["helm", "serve"]
