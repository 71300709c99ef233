"""A registry of models behind HTTP, as much of MLflow's server as a stream asks of it.

What it answers comes out of a real store, through MLflow's own client and messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.model_registry_pb2 import (
    GetModelVersionByAlias,
    GetModelVersionDownloadUri,
    GetRegisteredModel,
)
from mlflow.utils.proto_json_utils import message_to_json

from scorestream.infra.config.settings import Settings
from scorestream.infra.mlflow.store import ModelStore
from tools.chaos.proxy import Proxy
from tools.local.ports import HOST, free_port

Asked = dict[str, str]


def _by_alias(client: MlflowClient, parameters: Asked) -> str:
    version: Any = client.get_model_version_by_alias(parameters["name"], parameters["alias"])
    answer = GetModelVersionByAlias.Response(model_version=version.to_proto())
    return str(message_to_json(answer))


def _registered(client: MlflowClient, parameters: Asked) -> str:
    model: Any = client.get_registered_model(parameters["name"])
    return str(message_to_json(GetRegisteredModel.Response(registered_model=model.to_proto())))


def _place(client: MlflowClient, parameters: Asked) -> str:
    uri = client.get_model_version_download_uri(parameters["name"], parameters["version"])
    return str(message_to_json(GetModelVersionDownloadUri.Response(artifact_uri=uri)))


_ANSWERS: Final[dict[str, Callable[[MlflowClient, Asked], str]]] = {
    "registered-models/alias": _by_alias,
    "registered-models/get": _registered,
    "model-versions/get-download-uri": _place,
}


@contextmanager
def registry_behind_proxy(settings: Settings) -> Iterator[Proxy]:
    """Serve the models of a store; clients of the proxy reach it, in its weather."""
    client = ModelStore.of(settings).client

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            parameters = {name: values[0] for name, values in parse_qs(url.query).items()}
            answer = _ANSWERS.get(url.path.partition("/mlflow/")[2])
            try:
                self._say(404, "{}") if answer is None else self._say(
                    200, answer(client, parameters)
                )
            except MlflowException as error:
                self._say(404, json.dumps({"error_code": error.error_code, "message": str(error)}))

        def log_message(self, *_arguments: Any) -> None:
            """Nothing."""

        def _say(self, code: int, text: str) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer((HOST, free_port()), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    proxy = Proxy(free_port(), server.server_port)
    try:
        yield proxy
    finally:
        proxy.close()
        server.shutdown()
        server.server_close()
