"""MLflow's server with its pages for model training: `bloodcell ui` starts it as MLflow's app ``bloodcell``."""

from pathlib import Path

import mlflow.server
from fastapi import Request
from fastapi.responses import HTMLResponse
from mlflow.server.fastapi_app import app

SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',  # else pages for language models
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",  # else the panel of the assistant opens
}
"""What a browser keeps of MLflow's pages, and what it has before the user chooses."""
SCRIPT = "".join(
    f"localStorage.getItem('{key}') ?? localStorage.setItem('{key}', '{SETTINGS[key]}');" for key in SETTINGS
)


def index(request: Request) -> HTMLResponse:  # noqa: ARG001 - the signature of a page
    """Return MLflow's page, which shows every address, with the settings for a browser that has none."""
    page = (Path(mlflow.server.__file__).parent / mlflow.server.REL_STATIC_DIR / "index.html").read_text("utf-8")
    return HTMLResponse(page.replace("<head>", f"<head><script>{SCRIPT}</script>", 1))


app.add_route("/", index, methods=["GET"])
app.router.routes.insert(0, app.router.routes.pop())  # before MLflow's own
