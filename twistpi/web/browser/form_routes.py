"""The routes of the pages that change something: each question has a GET, and its form a POST at the same address."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from twistpi.web.browser.account_page import AccountPage
from twistpi.web.browser.confirmation import Confirmations
from twistpi.web.browser.forms import Forms
from twistpi.web.browser.frame import Frames
from twistpi.web.browser.index_forms import IndexForms
from twistpi.web.browser.login_page import LoginPage
from twistpi.web.browser.push_page import PushPage
from twistpi.web.browser.quarantine_form import QuarantineForm
from twistpi.web.browser.release_forms import ReleaseForms
from twistpi.web.browser.rendering import Renderer
from twistpi.web.browser.routing import Route, for_forms, for_people, page_only, with_form
from twistpi.web.commits import Commits
from twistpi.web.components import Components
from twistpi.web.handlers.accounts import LoginHandler, TokensHandler, UsersHandler
from twistpi.web.handlers.indexes import IndexesHandler
from twistpi.web.handlers.push import PushHandler
from twistpi.web.handlers.release_edits import ReleaseEditsHandler
from twistpi.web.project_sources import ProjectSources

_USER = "/<name:user>"
_INDEX = f"{_USER}/<name:index>"
_PROJECT = f"{_INDEX}/<name:project>"
_RELEASE = f"{_PROJECT}/<version>"
_FILE = f"{_INDEX}/+f/<three>/<thirteen>/<filename>"


@attrs.frozen
class ApiHandlers:
    """The handlers that make the same changes for programs."""

    login: LoginHandler
    users: UsersHandler
    tokens: TokensHandler
    indexes: IndexesHandler
    edits: ReleaseEditsHandler
    push: PushHandler


def form_routes(
    parts: Components, api: ApiHandlers, commits: Commits, sources: ProjectSources, frames: Frames, renderer: Renderer
) -> Iterator[Route]:
    """Return the routes of all pages with forms that change something."""
    access, addresses, offload = parts.access, parts.addresses, parts.offload
    forms = Forms(access, addresses, frames)
    confirmations = Confirmations(access, forms, renderer, offload, commits)
    login = LoginPage(access, addresses, frames, forms, renderer)
    account = AccountPage(access, addresses, frames, forms, confirmations, renderer, offload, api.users, api.tokens)
    indexes = IndexForms(access, forms, confirmations, renderer, offload, commits, api.indexes)
    releases = ReleaseForms(access, forms, confirmations, api.edits, sources)
    quarantine = QuarantineForm(access, confirmations, api.indexes)
    push = PushPage(access, forms, renderer, offload, api.push)

    yield "/+login", ["GET"], page_only(login.show)
    yield "/+login", ["POST"], for_forms(login.login, api.login.login)
    yield "/+logout", ["POST"], login.logout
    yield "/+account", ["GET"], page_only(account.own)
    yield "/+users", ["GET", "POST"], with_form(account.users, account.create_user)
    yield f"{_USER}/+account", ["GET", "POST"], with_form(account.show, account.change_profile)
    yield f"{_USER}/+account/password", ["POST"], account.change_password
    yield f"{_USER}/+account/tokens", ["POST"], account.create_token
    yield f"{_USER}/+account/tokens/<name:token>", ["GET", "POST"], with_form(account.revoke_token)
    yield f"{_USER}/+delete", ["GET", "POST"], with_form(account.delete)
    yield f"{_USER}/+new-index", ["GET", "POST"], with_form(indexes.new, indexes.create)
    yield f"{_INDEX}/+settings", ["GET", "POST"], with_form(indexes.settings, indexes.configure)
    yield f"{_INDEX}/+delete", ["GET", "POST"], with_form(indexes.delete)
    yield f"{_PROJECT}/+status", ["GET"], for_people(releases.set_status, api.edits.show_status)
    yield f"{_PROJECT}/+status", ["POST"], releases.set_status
    yield f"{_PROJECT}/+quarantine", ["GET", "POST"], with_form(quarantine.project)
    yield f"{_PROJECT}/+refresh", ["POST"], releases.refresh
    yield f"{_PROJECT}/+delete", ["GET", "POST"], with_form(releases.remove_project)
    yield f"{_RELEASE}/+delete", ["GET", "POST"], with_form(releases.remove_release)
    yield f"{_RELEASE}/+yank", ["GET", "POST"], with_form(releases.yank_release)
    yield f"{_RELEASE}/+quarantine", ["GET", "POST"], with_form(quarantine.release)
    yield f"{_RELEASE}/+push", ["GET", "POST"], with_form(push.show, push.push)
    yield f"{_FILE}/+delete", ["GET", "POST"], with_form(releases.remove_file)
    yield f"{_FILE}/+yank", ["GET", "POST"], with_form(releases.yank_file)
    yield f"{_INDEX}/+e/<folder>/<filename>/+delete", ["GET", "POST"], with_form(releases.remove_file)
