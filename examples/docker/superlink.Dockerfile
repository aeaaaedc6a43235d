ARG FLWR_VERSION=1.42.0
FROM flwr/superlink:${FLWR_VERSION}

# A named volume gets the owner of the directory that it is mounted on: without one it would be
# root's, and the SuperLink, which is another user, could not write its database.
RUN mkdir /app/state
