// Shows one of the two documents, which the address names. What is typed in as a credential stays in this page's memory:
// it is not kept when the page is left.
"use strict";

const links = [...document.querySelectorAll("[data-document]")];

function show() {
  const dialects = location.hash.startsWith("#dialects");
  const url = dialects ? "/openapi-dialects.json" : "/openapi.json";
  for (const link of links) {
    const current = link.dataset.document === url;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("source").href = url;
  SwaggerUIBundle({
    url,
    dom_id: "#viewer",
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    docExpansion: "none",
    defaultModelsExpandDepth: -1,
    defaultModelRendering: "example",
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: false,
    requestSnippetsEnabled: false,
    showExtensions: false,
    tryItOutEnabled: true,
    validatorUrl: null,
    syntaxHighlight: { activated: true, theme: "idea" },
  });
}

for (const link of links) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href") === "#" ? "/docs" : "/docs#dialects");
    show();
  });
}
addEventListener("popstate", show);
show();
