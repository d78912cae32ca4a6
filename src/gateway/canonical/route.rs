//! The routes that the protos declare (`google.api.http`), and which of them a path is.
//!
//! The grammar used: literal segments, `{field}` for one segment, and a `:verb` after the last one.

use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};

use crate::gateway::path;

/// One way to call one method.
#[derive(Debug)]
pub(in crate::gateway) struct Route {
    /// The template, as in the proto.
    pub(in crate::gateway) template: String,
    /// What it calls.
    pub(in crate::gateway) method: MethodDescriptor,
    /// Whether the request's fields come in a body; else in the query.
    pub(in crate::gateway) has_body: bool,
    /// Whether nobody needs to be known to call it.
    pub(super) for_anybody: bool,
    /// By which HTTP method.
    pub(in crate::gateway) http: Method,
    segments: Vec<Segment>,
    verb: Option<String>,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Variable(String),
}

/// A route that a request took, with its variables as they stand in the path.
#[derive(Debug)]
pub(in crate::gateway) struct Matched<'a> {
    pub(in crate::gateway) route: &'a Route,
    /// Field and raw text.
    pub(super) variables: Vec<(&'a str, String)>,
}

/// Why a request took none.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum NoRoute {
    /// The path has more than one reading.
    Ambiguous,
    /// No route has this path.
    Unknown,
    /// The path has these methods only, joined by `, `.
    Method(String),
}

/// All routes of the unary methods.
#[derive(Debug)]
pub(in crate::gateway) struct Routes(Vec<Route>);

impl Routes {
    /// Reads them off the descriptors.
    pub(in crate::gateway) fn read(pool: &DescriptorPool) -> Self {
        let mut routes = Vec::new();
        let Some(http) = pool.get_extension_by_name("google.api.http") else { return Self(routes) };
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        for method in methods.filter(|method| !method.is_client_streaming() && !method.is_server_streaming()) {
            let options = method.options();
            if let Some(rule) = options.get_extension(&http).as_message() {
                let more = rule.get_field_by_name("additional_bindings");
                let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
                let rules = std::iter::once(rule).chain(more.iter().filter_map(Value::as_message));
                routes.extend(rules.filter_map(|rule| Route::read(&method, rule)));
            }
        }
        // A verb is looked for before a variable may swallow it.
        routes.sort_by_key(|route| route.verb.is_none());
        Self(routes)
    }

    /// Each of them; the routes of one method in the proto's order, but those with a verb first.
    pub(in crate::gateway) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The route of a request.
    pub(in crate::gateway) fn find(&self, method: &Method, path: &str) -> Result<Matched<'_>, NoRoute> {
        let segments = path::segments(path).filter(|segments| segments.iter().all(|segment| path::is_plain(segment)));
        let segments = segments.ok_or(NoRoute::Ambiguous)?;
        let mut others = Vec::new();
        for route in &self.0 {
            if let Some(variables) = route.take(&segments) {
                if route.http == *method {
                    return Ok(Matched { route, variables });
                }
                others.push(route.http.as_str());
            }
        }
        others.sort_unstable();
        others.dedup();
        Err(if others.is_empty() { NoRoute::Unknown } else { NoRoute::Method(others.join(", ")) })
    }
}

impl Route {
    fn read(method: &MethodDescriptor, rule: &DynamicMessage) -> Option<Self> {
        let text =
            |name: &str| rule.get_field_by_name(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let verbs = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
        let (http, template) = verbs
            .into_iter()
            .find_map(|verb| text(&verb.as_str().to_ascii_lowercase()).map(|template| (verb, template)))?;
        let (path, verb) = match template.rsplit_once(':') {
            Some((path, verb)) => (path, Some(verb.to_owned())),
            None => (template.as_str(), None),
        };
        let segments = path::segments(path)?.into_iter().map(Segment::read).collect();
        let has_body = text("body").is_some();
        let for_anybody = is_for_anybody(method);
        Some(Self { method: method.clone(), has_body, for_anybody, http, segments, verb, template })
    }

    /// The fields that the path names.
    pub(in crate::gateway) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The variables, where this is the path of the route.
    fn take(&self, segments: &[&str]) -> Option<Vec<(&str, String)>> {
        if segments.len() != self.segments.len() {
            return None;
        }
        let last = segments.len() - 1;
        let mut variables = Vec::new();
        for (index, (raw, segment)) in segments.iter().zip(&self.segments).enumerate() {
            let raw = match &self.verb {
                Some(verb) if index == last => raw.strip_suffix(verb.as_str())?.strip_suffix(':')?,
                Some(_) | None => raw,
            };
            match segment {
                Segment::Literal(literal) if raw == literal => {}
                Segment::Literal(_) => return None,
                // Only a tenant may be named with a colon (`applivery:acme`); elsewhere it begins a verb nobody knows.
                Segment::Variable(name) if index == last && raw.contains(':') && name != "tenant_id" => return None,
                Segment::Variable(name) => variables.push((name.as_str(), raw.to_owned())),
            }
        }
        Some(variables)
    }
}

impl Segment {
    fn read(text: &str) -> Self {
        match text.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Literal(text.to_owned()),
        }
    }
}

/// Whether the method's own rule says so.
fn is_for_anybody(method: &MethodDescriptor) -> bool {
    let options = method.options();
    let rule = method.parent_pool().get_extension_by_name("rekey.v1.rule");
    let rule = rule.map(|rule| options.get_extension(&rule).into_owned());
    let says = rule.as_ref().and_then(Value::as_message).and_then(|rule| rule.get_field_by_name("anybody"));
    says.as_deref().and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DESCRIPTORS;

    fn find(method: &Method, path: &str) -> Result<(String, Vec<String>), NoRoute> {
        let routes = Routes::read(&DESCRIPTORS);
        let matched = routes.find(method, path)?;
        let variables = matched.variables.iter().map(|(field, raw)| format!("{field}={raw}")).collect();
        Ok((matched.route.method.name().to_owned(), variables))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as `find` has it")]
    fn found(method: &str, variables: &[&str]) -> Result<(String, Vec<String>), NoRoute> {
        Ok((method.to_owned(), variables.iter().map(|&text| text.to_owned()).collect()))
    }

    #[test]
    fn every_unary_method_has_a_route_whose_variables_are_fields_of_its_request() {
        let routes = Routes::read(&DESCRIPTORS);
        for service in DESCRIPTORS.services().filter(|service| service.full_name().starts_with("rekey.")) {
            let unary =
                service.methods().filter(|method| !method.is_client_streaming() && !method.is_server_streaming());
            for method in unary {
                assert!(routes.0.iter().any(|route| route.method == method), "{}", method.full_name());
            }
        }
        for route in &routes.0 {
            for segment in &route.segments {
                match segment {
                    Segment::Literal(literal) => {
                        assert!(literal.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", route.template);
                    }
                    Segment::Variable(name) => {
                        assert!(route.method.input().get_field_by_name(name).is_some(), "{}", route.template);
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_routes_share_a_method_and_a_path() {
        let routes = Routes::read(&DESCRIPTORS);
        for route in &routes.0 {
            let path = route.template.replace(['{', '}'], "");
            let taking: Vec<_> = routes
                .0
                .iter()
                .filter(|other| other.http == route.http && other.take(&path::segments(&path).unwrap()).is_some())
                .collect();
            assert_eq!(taking.len(), 1, "{path}: {taking:?}");
        }
    }

    #[test]
    fn additional_bindings_are_routes_too() {
        assert_eq!(
            find(&Method::POST, "/v1/tenants/-/users:changePassword"),
            found("ChangePassword", &["tenant_id=-"])
        );
        let by_id = found("ChangePassword", &["tenant_id=-", "user_id=7"]);
        assert_eq!(find(&Method::POST, "/v1/tenants/-/users/7:changePassword"), by_id);
    }

    #[test]
    fn a_colon_belongs_to_a_known_verb_or_else_to_the_tenant() {
        assert_eq!(find(&Method::GET, "/v1/tenants/applivery:acme"), found("GetTenant", &["tenant_id=applivery:acme"]));
        let reset = found("ResetPassword", &["tenant_id=applivery:acme", "user_id=7"]);
        assert_eq!(find(&Method::POST, "/v1/tenants/applivery:acme/users/7:resetPassword"), reset);
        assert_eq!(find(&Method::POST, "/v1/tenants/-/users/7:fly"), Err(NoRoute::Unknown));
        assert_eq!(find(&Method::GET, "/v1/tenants/-/users/a:b"), Err(NoRoute::Unknown));
    }

    #[test]
    fn another_method_is_told_from_another_path() {
        let only = |methods: &str| Err(NoRoute::Method(methods.to_owned()));
        assert_eq!(find(&Method::DELETE, "/v1/tenants"), only("GET, POST"));
        assert_eq!(find(&Method::HEAD, "/v1/whoami"), only("GET"));
        assert_eq!(find(&Method::GET, "/v1/tenants/-/users/7:resetPassword"), only("POST"));
        assert_eq!(find(&Method::GET, "/v1/nothing"), Err(NoRoute::Unknown));
        assert_eq!(find(&Method::GET, "/V1/whoami"), Err(NoRoute::Unknown));
        assert_eq!(find(&Method::GET, "/v1/%77hoami"), Err(NoRoute::Unknown));
    }

    #[test]
    fn a_path_with_two_readings_is_none() {
        for path in
            ["", "*", "/", "v1/whoami", "/v1/whoami/", "//v1/whoami", "/v1//whoami", "/v1/./whoami", "/v1/x/../whoami"]
        {
            assert_eq!(find(&Method::GET, path), Err(NoRoute::Ambiguous), "{path}");
        }
    }
}
