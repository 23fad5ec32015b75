"""The account of a user: who they are, their password and their API tokens; and all users, for those who may make some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.auth.passwords import BLANK
from twistpi.http.offload import Offload
from twistpi.model.errors import BadRequest, TwistpiError, unknown_user
from twistpi.model.records import Json, Principal, User
from twistpi.rules.accounts import read_user_patch
from twistpi.rules.permissions import MAY_READ, MAY_UPLOAD, Action, is_allowed, may_read
from twistpi.rules.token_requests import is_expired
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, client_address, is_local
from twistpi.web.browser.confirmation import Confirmations, Question
from twistpi.web.browser.forms import Forms, Sent
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer, segment
from twistpi.web.commits import Edit
from twistpi.web.handlers.accounts import TokensHandler, UsersHandler
from twistpi.web.replies import NO_STORE, Headers, Reply
from twistpi.web.request import parameter

_PER_PAGE: Final = 100
"""Users on one page."""
_MOST_OFFERED: Final = 200
"""Indexes that are offered for a new token; any other can be typed."""
_PROFILE: Final = ("title", "email", "description")
_LAST_PAGE: Final = 100_000


@attrs.frozen
class _Draft:
    """A form that was refused, or the secret of a token that was made just now."""

    section: str = ""
    """``profile``, ``password``, ``tokens`` or empty."""
    error: TwistpiError | None = None
    sent: Sent | None = None
    secret: str = ""

    def error_in(self, section: str) -> str:
        """Return why the form of ``section`` was refused; empty if it was not."""
        return str(self.error) if self.error is not None and self.section == section else ""

    def value(self, section: str, name: str, otherwise: str = "") -> str:
        """Return what was entered, or ``otherwise``."""
        return self.sent.text(name) if self.sent is not None and self.section == section and self.error else otherwise


@attrs.define(eq=False)
class AccountPage:
    """Makes ``/{user}/+account`` and answers its forms; makes ``/+users``."""

    _access: Access
    _addresses: Addresses
    _frames: Frames
    _forms: Forms
    _confirmations: Confirmations
    _renderer: Renderer
    _offload: Offload
    _users: UsersHandler
    _tokens: TokensHandler

    async def own(self, request: Request) -> Reply:
        """Redirect to the reader's own account."""
        frame = await self._forms.frame(request)
        return self._forms.done(request, _path(str(frame.caller.user)))

    async def show(self, request: Request, user: str) -> Reply:
        """The account of ``user``, for those who may manage it."""
        frame = await self._forms.frame(request)
        return await self._offload(self._build, frame, user, _Draft())

    async def change_profile(self, request: Request, user: str) -> Reply:
        """Set title, mail address and description."""

        async def change(sent: Sent) -> Reply:
            wanted = read_user_patch({name: sent.text(name) for name in _PROFILE})
            await self._users.modify_user(sent.sender, user, wanted)
            return self._forms.done(request, _path(user), "Saved.")

        return await self._answer(request, user, "profile", change)

    async def change_password(self, request: Request, user: str) -> Reply:
        """Set another password.  All sessions and logins of the user end but this one."""

        async def change(sent: Sent) -> Reply:
            new = sent.form.first("new") or ""
            if new != (sent.form.first("again") or ""):
                raise BadRequest("The new password was not repeated in the same way.")
            if sent.sender.user == user:
                address, local = client_address(request, self._addresses), is_local(request)
                await self._access.authenticator.proved(user, sent.form.first("current") or "", address, local=local)
            await self._users.modify_user(sent.sender, user, read_user_patch({"password": new}))
            found = self._access.reader.user(user)
            if sent.sender.user != user or found is None:
                return self._forms.done(request, _path(user), f"{user} has another password now.")
            message = "You have another password now. Other browsers and programs have to log in again."
            return self._forms.done(
                request, _path(user), headers=self._access.authenticator.sessions.begin(request, found, message)
            )

        return await self._answer(request, user, "password", change)

    async def create_token(self, request: Request, user: str) -> Reply:
        """Make an API token, whose text is on this page and never again."""

        async def create(sent: Sent) -> Reply:
            secret, _token = await self._tokens.create_token(sent.sender, user, partial(_token_request, sent))
            frame = await self._forms.frame(request)
            return await self._offload(self._build, frame, user, _Draft("tokens", secret=secret))

        return await self._answer(request, user, "tokens", create)

    async def revoke_token(self, request: Request, user: str, token: str) -> Reply:
        """Revoke an API token, after a question."""

        def edit(sender: Principal, _sent: Sent | None) -> Edit:
            return self._tokens.revocation(sender, user, token)

        known = self._access.reader.api_token(token)
        title = known.title if known is not None and known.user == user else ""
        return await self._confirmations.answer(
            request,
            Question(
                title=f"Revoke the API token {title or token}?",
                lead="Programs that use it can read and upload nothing with it from then on.",
                button="Revoke",
                back=_path(user),
            ),
            edit,
        )

    async def delete(self, request: Request, user: str) -> Reply:
        """Delete a user with all indexes, after a question."""

        def edit(sender: Principal, _sent: Sent | None) -> Edit:
            return self._users.deletion(sender, user)

        question = Question(
            title=f"Delete the user {user}?",
            lead="The name is free for anybody after that. Logins and API tokens of the user end.",
            button="Delete",
            back=_path(user),
            after=lambda sender: "/" if sender.user == user else "/+users",
        )
        return await self._confirmations.answer(request, question, edit)

    async def users(self, request: Request) -> Reply:
        """All users, for those who may make some."""
        frame = await self._forms.frame(request)
        return await self._offload(self._build_users, frame, parameter(request, b"page"), None, "")

    async def create_user(self, request: Request) -> Reply:
        """Make a user."""
        sent = self._forms.sent(request)
        name = sent.text("name")
        body: dict[str, Json] = {"password": sent.form.first("password") or None, "email": sent.text("email")}
        try:
            await self._users.create_user(sent.sender, name, lambda: body)
        except TwistpiError as refusal:
            frame = await self._forms.frame(request)
            return await self._offload(self._build_users, frame, "", sent, str(refusal), refusal.status)
        return self._forms.done(request, "/+users", f"The user {name} was created.")

    async def _answer(self, request: Request, user: str, section: str, change: Callable[[Sent], Awaitable[Reply]]) -> Reply:
        """Return what ``change`` returns; the page again, with the reason, if that is refused."""
        sent = self._forms.sent(request)
        try:
            return await change(sent)
        except TwistpiError as refusal:
            frame = await self._forms.frame(request)
            return await self._offload(self._build, frame, user, _Draft(section, refusal, sent))

    def _build(self, frame: Frame, name: str, draft: _Draft) -> Reply:
        reader, policy, caller = self._access.reader, self._access.policy, frame.caller
        self._access.check(Action.MANAGE_TOKENS, caller, user=name)
        user = reader.user(name)
        if user is None:
            raise unknown_user(name)
        readable = (index.name for index in reader.indexes() if may_read(caller, index))
        headers: Headers = (NO_STORE,) if draft.secret or draft.error else ()
        return self._renderer.page(
            frame,
            "account.html",
            status=200 if draft.error is None else draft.error.status,
            headers=headers,
            user=user,
            draft=draft,
            is_own=caller.user == name,
            is_blank=user.password_hash == BLANK,
            tokens=[(token, is_expired(token, self._tokens.now())) for token in reader.api_tokens(name)],
            offered=sorted(readable)[:_MOST_OFFERED],
            may_modify=is_allowed(Action.MODIFY_USER, caller, policy, user=name),
            may_delete=is_allowed(Action.DELETE_USER, caller, policy, user=name),
            may_create_index=is_allowed(Action.CREATE_INDEX, caller, policy, user=name),
            may_create_user=is_allowed(Action.CREATE_USER, caller, policy),
        )

    def _build_users(self, frame: Frame, page: str, sent: Sent | None, error: str, status: int = 200) -> Reply:
        self._access.check(Action.CREATE_USER, frame.caller)
        users = sorted(self._access.reader.users(), key=lambda user: user.name)
        last = max(1, -(-len(users) // _PER_PAGE))
        number = min(int(page) if page.isdecimal() and len(page) < len(str(_LAST_PAGE)) else 1, last) or 1
        return self._renderer.page(
            frame,
            "users.html",
            status=status,
            users=[(user, self._may_manage(frame.caller, user)) for user in users[(number - 1) * _PER_PAGE : number * _PER_PAGE]],
            count=len(users),
            page=number,
            last=last,
            error=error,
            name="" if sent is None else sent.text("name"),
            email="" if sent is None else sent.text("email"),
        )

    def _may_manage(self, caller: Principal, user: User) -> bool:
        return is_allowed(Action.MANAGE_TOKENS, caller, self._access.policy, user=user.name)


def _path(user: str) -> str:
    return f"/{segment(user)}/+account"


def _token_request(sent: Sent) -> Json:
    """Return the body that the API takes for a new token."""
    may = [right for right in (MAY_READ, MAY_UPLOAD) if sent.is_set(right)]
    given = {name: sent.text(name) for name in ("index", "project", "days", "title")}
    return {"may": may, **{name: value for name, value in given.items() if value}}
