"""The documentation page in a headless Chromium, against a running `rekey dev`: it loads without a request to anywhere
else and without a complaint, shows both documents, and tries a call with a token.

    browser.py BINARY CHROMIUM [DIRECTORY]      screenshots go into the directory
"""

import json
import os
import re
import sys
import urllib.parse

from playwright.sync_api import expect, sync_playwright

from dev import Dev

BINARY, CHROMIUM = sys.argv[1:3]
SHOTS = sys.argv[3] if len(sys.argv) > 3 else None


def shoot(page, name):
    if SHOTS:
        os.makedirs(SHOTS, exist_ok=True)
        page.screenshot(path=os.path.join(SHOTS, f"{name}.png"))


def authorise(page, scheme, value):
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    box = page.locator(".auth-container").filter(has=page.get_by_role("heading", name=re.compile(rf"^{scheme}\b")))
    box.locator("input").fill(value)
    box.get_by_role("button", name="Apply credentials").click()
    shoot(page, "authorise")
    page.locator(".modal-ux").get_by_role("button", name=re.compile("Close")).last.click()


def open_tag(page, tag):
    heading = page.locator(f"#operations-tag-{tag}")
    if heading.get_attribute("data-is-open") != "true":
        heading.get_by_role("button").first.click()


def open_operation(page, operation):
    open_tag(page, operation.split("_")[0].removesuffix("Service"))
    block = page.locator(f"[id$='-{operation}']")
    block.locator("button.opblock-summary-control").click()
    expect(block.locator("button.execute")).to_be_visible()
    return block


def answer(page, block):
    """Presses Execute; what came back, as the page shows it and as it was."""
    with page.expect_response(lambda response: response.request.resource_type == "fetch") as waiting:
        block.locator("button.execute").click()
    status = block.locator(".live-responses-table tr.response .response-col_status").first
    expect(status).to_contain_text(str(waiting.value.status))
    shown = block.locator(".live-responses-table .response .highlight-code, .live-responses-table .response pre").first.inner_text()
    return waiting.value, shown


def the_page_loads_by_itself(page, base):
    page.goto(base + "/docs")
    expect(page.get_by_role("heading", name=re.compile("^Rekey"))).to_be_visible()
    expect(page.locator(".opblock-tag-section")).to_have_count(10)
    wanted = json.loads(page.request.get(base + "/openapi.json").body())
    count = sum(len(operations) for operations in wanted["paths"].values())
    assert count > 60, count
    shoot(page, "page")
    open_tag(page, "User")
    expect(page.locator(".opblock").first).to_be_visible()
    shoot(page, "users")


def a_call_is_tried_with_a_token(page, base, env):
    authorise(page, "bearer", env["REKEY_ADMIN_TOKEN"])
    block = open_operation(page, "UserService_GetUser")
    block.get_by_placeholder("tenant_id").fill("ocariot")
    block.get_by_placeholder("user_id").fill(env["OCARIOT_USER_ID"])
    response, shown = answer(page, block)
    assert response.status == 200, response.status
    assert response.json()["user"]["username"] == env["OCARIOT_USERNAME"]
    assert env["OCARIOT_USERNAME"] in shown, shown
    block.locator(".responses-wrapper").scroll_into_view_if_needed()
    shoot(page, "tried")

    reset = open_operation(page, "UserService_ResetPassword")
    reset.get_by_placeholder("tenant_id").fill("ocariot")
    reset.get_by_placeholder("user_id").fill(env["OCARIOT_USER_ID"])
    reset.locator("textarea.body-param__text").fill('{"generate": {}}')
    response, shown = answer(page, reset)
    assert response.status == 200 and response.json()["generatedPassword"] in shown, shown


def a_refusal_is_shown_as_it_is(page, env):
    block = open_operation(page, "TenantService_GetTenant")
    block.get_by_placeholder("tenant_id").fill("no-such-tenant")
    response, shown = answer(page, block)
    assert response.status == 404 and "TENANT_NOT_FOUND" in shown, shown


def the_dialects_are_there_too(page, env):
    page.get_by_role("link", name="Dialects").click()
    expect(page.get_by_role("heading", name=re.compile("dialects"))).to_be_visible()
    expect(page.locator(".opblock-tag-section")).to_have_count(4)
    authorise(page, "token", env["ROMA_TOKEN"])
    block = open_operation(page, "roma_showAuthentication")
    for name in ("project_id", "instance_id", "device_id"):
        block.get_by_placeholder(name).fill(env[f"ROMA_{name.upper()}"])
    shoot(page, "dialects")
    response, shown = answer(page, block)
    assert response.status == 200 and env["ROMA_USER_NAME"] in shown, shown


def main():
    with Dev(BINARY) as dev, sync_playwright() as playwright:
        base = dev.env["REKEY_HTTP"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        elsewhere, complaints = [], []
        here = urllib.parse.urlsplit(base).netloc

        def requested(request):
            parts = urllib.parse.urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != here:
                elsewhere.append(request.url)

        page.on("request", requested)
        # A refusal that was asked for is no complaint of the page's.
        asked = "Failed to load resource: the server responded with a status of 404"
        page.on("console", lambda line: line.type in ("error", "warning") and asked not in line.text and complaints.append(line.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        the_page_loads_by_itself(page, base)
        a_call_is_tried_with_a_token(page, base, dev.env)
        a_refusal_is_shown_as_it_is(page, dev.env)
        the_dialects_are_there_too(page, dev.env)
        assert not elsewhere, f"the page asked elsewhere: {elsewhere}"
        assert not complaints, f"the browser complains: {complaints}"
        print(f"ok      the page in Chromium {browser.version}: loads, tries calls, asks nowhere else")
        browser.close()


main()
