"""Every `flask ...` command of operators. Each module adds its own."""

from flask import Flask

from flaskapp.ops.commands import (
    after_restore,
    audit,
    breakers,
    docs,
    documents,
    itf,
    keys,
    ledger,
    release,
    travel_pay,
)


def init_app(app: Flask) -> None:
    for module in (release, after_restore, ledger, audit, breakers, itf, documents, travel_pay, keys, docs):
        module.init_app(app)
