"""Messages and files have no credentials."""

import pytest

from bloodcell.errors import redact


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://anna:SECRET@host/db",
        "postgresql://anna:SECRET/with@both@host/db",
        "postgresql://anna:SECRET with spaces@host/db",
        "postgresql://host/db?user=anna&password=SECRET&sslmode=require",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC%7D%3BPWD%3DSECRET",
        "https://host/mlflow?access_token=SECRET",
        "https://host/mlflow?client_secret=SECRET&clientSecret=SECRET&accessKey=SECRET&x-api-key=SECRET",
        "anna:SECRET@host",
        "https://store/x?X-Amz-Signature=1&sig=SECRET&x=1",
        "could not connect to mysql://anna:SECRET@host/db (PWD=SECRET)",
    ],
)
def test_secrets_are_hidden(address):
    hidden = redact(address)
    assert "SECRET" not in hidden
    assert redact(hidden) == hidden
    assert ("host" in hidden) == ("host" in address)


@pytest.mark.parametrize(
    "text",
    [
        "models:/cells@champion",
        "sqlite:////home/anna/mlruns/mlflow.db",
        "https://host/mlflow",
        "http://127.0.0.1:5000 failed; models:/cells@best was kept",
        "monkey=1 tokens=2 keys=3",
        "12:30 anna@host wrote",
        "runs=a: b@c",
        "hyperparameters.seed=3",
    ],
)
def test_other_texts_stay(text):
    assert redact(text) == text
