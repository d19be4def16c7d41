"""One tenant never sees or changes what belongs to another, over every route."""

import pytest

from tests.e2e.installation import Installation, expect
from tests.e2e.two_tenants import OPERATIONS, TENANTED, Scene, filled, rows_of

WRONG_PASSWORD = ("POST /v1/auth/password", 422)
"""What is tried names a wrong current password of one's own account."""


async def test_every_route_says_how_it_keeps_tenants_apart(installation: Installation) -> None:
    document = expect(await installation.http.get("/openapi.json"), 200)
    found = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert found == set(OPERATIONS), "classify new routes in OPERATIONS; remove those that are gone"


async def test_every_route_but_the_public_ones_needs_a_credential(installation: Installation, scene: Scene) -> None:
    answers = {}
    for name, operation in OPERATIONS.items():
        if operation.kind != "public":
            method, _, path = name.partition(" ")
            answers[name] = (await installation.http.request(method, filled(path, scene.ids))).status_code
    assert {name: status for name, status in answers.items() if status != 401} == {}


@pytest.mark.parametrize("name", TENANTED)
async def test_the_owner_of_another_tenant(scene: Scene, name: str) -> None:
    response = await scene.try_out(name, "owner")
    match OPERATIONS[name].kind:
        case "foreign id":
            assert response.status_code == 404, response.text
        case "own namespace":
            assert response.status_code in (200, 201, 202, 409), response.text
        case _:
            assert response.status_code in (200, 201) or (name, response.status_code) == WRONG_PASSWORD, response.text
    assert scene.tells(response) == []
    if name.startswith("GET") and "items" in response.text:
        assert scene.ids["customer_code"] not in response.text
    await _nothing_changed(scene)


@pytest.mark.parametrize("name", TENANTED)
async def test_an_api_key_of_another_tenant(scene: Scene, name: str) -> None:
    response = await scene.try_out(name, "api key")
    if OPERATIONS[name].kind == "foreign id":
        # The owner has made B's own things under these ids by now; what belongs to A must not come with them.
        assert response.status_code in (200, 204, 403, 404), response.text
    else:
        assert response.status_code in (200, 201, 202, 401, 403, 409), response.text
    told = scene.tells(response)
    assert (told if not OPERATIONS[name].lists_all else [mark for mark in told if mark != scene.ids["mark"]]) == []
    await _nothing_changed(scene)


@pytest.mark.parametrize("name", [*TENANTED])
async def test_a_platform_operator_reads_no_tenants_data(scene: Scene, name: str) -> None:
    response = await scene.try_out(name, "operator")
    own_account = name in ("GET /v1/auth/me", "POST /v1/auth/password")
    assert response.status_code in (200, 403) or (name, response.status_code) == WRONG_PASSWORD, response.text
    assert (response.status_code == 403) != own_account
    assert scene.tells(response) == []
    await _nothing_changed(scene)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.kind == "operator"])
async def test_tenants_are_administered_by_operators_alone(scene: Scene, name: str) -> None:
    for who in ("owner", "api key"):
        response = await scene.try_out(name, who)
        assert response.status_code == 403, response.text
        assert scene.tells(response) == []
    await _nothing_changed(scene)


async def test_a_cursor_of_one_tenant_is_refused_for_another(scene: Scene) -> None:
    http = scene.installation.http
    for number in range(2):
        code = {"customer_code": f"cursor-{number}"}
        await http.post("/v1/products", json={"product_key": code["customer_code"]}, headers=scene.intruders["owner"])
    page = expect(await http.get("/v1/products", params={"limit": 1}, headers=scene.intruders["owner"]), 200)
    assert page["next_cursor"]
    answer = await http.get(
        "/v1/products", params={"limit": 1, "cursor": page["next_cursor"]}, headers=scene.victim.auth
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "cursor"


async def _nothing_changed(scene: Scene) -> None:
    admin = await scene.installation.admin()
    try:
        assert await rows_of(admin, scene.victim.tenant_id) == scene.rows
    finally:
        await admin.close()
