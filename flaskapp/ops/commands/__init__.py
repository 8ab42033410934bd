"""Every `flask ...` command of operators. Each module adds its own."""

from flask import Flask

from flaskapp.ops.commands import accounts, audit, breakers, docs, documents, itf, ledger, release, travel_pay


def init_app(app: Flask) -> None:
    for module in (release, ledger, audit, breakers, itf, documents, travel_pay, accounts, docs):
        module.init_app(app)
