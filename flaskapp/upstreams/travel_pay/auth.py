"""Tokens of every Travel Pay call: VEIS's lets us through the gateway, the person's says who the call is for.

Each is refused in its own form, and only the refused one is replaced, as seldom as every token is: everybody shares
VEIS's, and one person's trouble must not make all others fetch it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar

from flaskapp.config import Config
from flaskapp.upstreams.btsss import subscription_headers
from flaskapp.upstreams.errors import PERSON_TOKEN_REFUSED, Unauthorized, Unavailable
from flaskapp.upstreams.sts import STSClient
from flaskapp.upstreams.tokens.cache import FetchedToken, Tokens
from flaskapp.upstreams.tokens.oauth import lifetime_seconds
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.fields import an_object, text
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.travel_pay.answers import (
    UPSTREAM,
    VEIS_TOKEN_REFUSED,
    parse_answer,
    refused,
)

# How long we use a token that does not say how long it is valid.
UNSTATED_LIFETIME_SECONDS = 3300.0

T = TypeVar("T")


class TravelerTokens(Protocol):
    def get(self, traveler: Traveler) -> str: ...
    def replace(self, traveler: Traveler, token: str) -> str: ...


class TravelerTokenClient:
    """Gets the token by which BTSSS knows a person, in exchange for STS's token for that person."""

    def __init__(self, config: Config, http: HTTP, sts: STSClient, veis_tokens: Tokens) -> None:
        self._config = config
        self._http = http
        self._sts = sts
        self._veis_tokens = veis_tokens
        self._keys = subscription_headers(config.travel_pay_subscription_keys)

    @property
    def fetch_seconds(self) -> float:
        """The total limit of one fetch, the repeat after a refused VEIS token included."""
        config = self._config
        return config.sts_total_seconds + 2 * (config.veis_total_seconds + token_seconds(config))

    def fetch_token(self, traveler: Traveler) -> FetchedToken:
        """A new token of that person.

        Raises Unauthorized, Throttled, and Unavailable for every other answer.
        """
        vouched = self._sts.exchange(traveler.icn, traveler.email)
        veis_token = self._veis_tokens.get()
        try:
            return self._ask(vouched, veis_token)
        except Unauthorized as refusal:
            if refusal.code == PERSON_TOKEN_REFUSED:
                raise
            another = self._veis_tokens.replace(veis_token)
            if another == veis_token:
                raise
        return self._ask(vouched, another)

    def _ask(self, vouched: str, veis_token: str) -> FetchedToken:
        config = self._config
        request = Outgoing(
            UPSTREAM,
            "access_token",
            "POST",
            f"{config.travel_pay_base_url}/api/v2/Auth/access-token",
            write=False,
            total_seconds=token_seconds(config),
            headers={
                "Authorization": f"Bearer {veis_token}",
                "BTSSS-API-Client-Number": config.travel_pay_client_number,
                "X-Correlation-ID": str(uuid.uuid4()),
                **self._keys,
            },
            json={"authJwt": vouched},
            unquoted=(vouched,),
        )
        return _fetched(self._http.call(request))


class TravelPayAuth:
    def __init__(self, config: Config, veis_tokens: Tokens, person_tokens: TravelerTokens) -> None:
        self._veis_tokens = veis_tokens
        self._person_tokens = person_tokens
        self._keys = subscription_headers(config.travel_pay_subscription_keys)

    def with_headers(self, traveler: Traveler, call: Callable[[dict[str, str]], T]) -> T:
        """`call` with the headers of a request for that person; when a token is refused, once more with another.

        Raises what `call` raises, and what fetching a token does (`TravelerTokenClient.fetch_token`).
        """
        tokens = self._tokens(traveler)
        try:
            return call(self._headers(*tokens))
        except Unauthorized as refusal:
            if refusal.code != PERSON_TOKEN_REFUSED:
                self._veis_tokens.replace(tokens[0])
            if refusal.code != VEIS_TOKEN_REFUSED:
                self._person_tokens.replace(traveler, tokens[1])
            others = self._tokens(traveler)
            if others == tokens:
                raise
        return call(self._headers(*others))

    def _tokens(self, traveler: Traveler) -> tuple[str, str]:
        """VEIS's token and the person's. The person's is fetched first, since that may replace VEIS's."""
        person_token = self._person_tokens.get(traveler)
        return self._veis_tokens.get(), person_token

    def _headers(self, veis_token: str, person_token: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {veis_token}",
            "BTSSS-Access-Token": person_token,
            "X-Correlation-ID": str(uuid.uuid4()),
            "Content-Type": "application/json",
            **self._keys,
        }


def token_seconds(config: Config) -> float:
    """Total limit on one token call. Jobs and people share the call, so it is the shorter of their limits."""
    return min(config.travel_pay_total_seconds, config.travel_pay_read_seconds)


def _fetched(answer: Answer) -> FetchedToken:
    if answer.status == 401:
        raise refused(answer)
    # Whether any other refusal is about this person is not known (docs/assumptions.md).
    if answer.status >= 400:
        raise failure(Unavailable, UPSTREAM, answer)
    return parse_answer(answer, lambda payload: _token(an_object(payload["data"])))


def _token(data: dict[str, object]) -> FetchedToken:
    seconds = lifetime_seconds(data.get("expiresIn"), UNSTATED_LIFETIME_SECONDS)
    return FetchedToken(text(data["accessToken"]), seconds)
