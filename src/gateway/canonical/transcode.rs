//! Between HTTP and messages: path, query and body become one JSON object, and that the request; proto3's JSON mapping
//! does the rest.

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value};

use super::route::Route;
use crate::{
    gateway::{failure::Failure, path},
    proto::ErrorReason,
};

/// The members of a request, by their fields' JSON names.
type Members = Map<String, Value>;

/// The request's message, encoded.
///
/// # Errors
/// What is wrong with path, query or body.
pub(super) fn request(
    route: &Route,
    variables: &[(&str, String)],
    query: Option<&str>,
    body: Value,
) -> Result<Bytes, Failure> {
    let input = route.method.input();
    let mut members = body_members(&input, body)?;
    if let Some(query) = query {
        if route.has_body {
            return Err(path_error("the method takes no query parameters"));
        }
        query_members(&input, query, &mut members)?;
    }
    for (name, raw) in variables {
        let text = path::decode(raw).ok_or_else(|| {
            path_error(
                "the path holds a broken escape, a slash or control character within a segment, or an empty segment",
            )
        })?;
        let Some(field) = input.get_field_by_name(name) else { continue };
        let value = scalar(&field, text);
        let given = members.insert(field.json_name().to_owned(), value.clone());
        if given.is_some_and(|given| !given.is_null() && given != value) {
            return Err(shape_error(&format!("{name} differs between path and body")));
        }
    }
    message(&input, members, route.has_body).map(|message| message.encode_to_vec().into())
}

/// An answer's message in JSON. Fields at their default value are written, so that `"verified": false` can be seen;
/// messages, oneofs and `optional` fields only where they are set.
pub(super) fn response(route: &Route, encoded: Bytes) -> Option<Vec<u8>> {
    let message = DynamicMessage::decode(route.method.output(), encoded).ok()?;
    let mut json = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut json, &SerializeOptions::new().skip_default_fields(false)).ok()?;
    Some(json.into_inner())
}

/// The body's members under their fields' JSON names, so that a field given by both of its names is seen.
fn body_members(input: &MessageDescriptor, body: Value) -> Result<Members, Failure> {
    let Value::Object(given) = body else { return Err(shape_error("the body must be a JSON object")) };
    let mut members = Members::new();
    for (name, value) in given {
        let field =
            field(input, &name).ok_or_else(|| shape_error("the body has a member that the method does not know"))?;
        if members.insert(field.json_name().to_owned(), value).is_some() {
            return Err(shape_error(&format!("{} is given twice", field.name())));
        }
    }
    Ok(members)
}

/// A field's text in path or query as JSON has it: numbers may stand in quotes there, but not the truth, nor an enum's
/// number.
fn scalar(field: &FieldDescriptor, text: String) -> Value {
    match (field.kind(), text.as_str()) {
        (Kind::Bool, "true") => Value::Bool(true),
        (Kind::Bool, "false") => Value::Bool(false),
        (Kind::Enum(_), number) => number.parse::<i32>().map_or(Value::String(text), Value::from),
        _ => Value::String(text),
    }
}

/// The query's parameters: scalars by their fields' names.
fn query_members(input: &MessageDescriptor, query: &str, members: &mut Members) -> Result<(), Failure> {
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let text = |raw: &str| {
            path::percent_decoded(&raw.replace('+', " ")).ok_or_else(|| path_error("the query holds a broken escape"))
        };
        let (name, value) = (text(name)?, text(value)?);
        let field = field(input, &name).filter(|field| !matches!(field.kind(), Kind::Message(_)) && !field.is_list());
        let field = field.ok_or_else(|| path_error("the query has a parameter that the method does not know"))?;
        let value = scalar(&field, value);
        if members.insert(field.json_name().to_owned(), value).is_some() {
            return Err(path_error(&format!("{} is given twice", field.name())));
        }
    }
    Ok(())
}

fn message(input: &MessageDescriptor, members: Members, has_body: bool) -> Result<DynamicMessage, Failure> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let fits =
        |members: Members| DynamicMessage::deserialize_with_options(input.clone(), Value::Object(members), &options);
    fits(members.clone()).map_err(|_quotes_the_body| {
        // The library's sentence may quote a value; which member it is about can be found without it.
        let mut alone =
            members.into_iter().map(|(name, value)| (field(input, &name), Members::from_iter([(name, value)])));
        let culprit = alone.find_map(|(field, member)| field.filter(|_| fits(member).is_err()));
        let sentence = match culprit {
            Some(field) => format!("{} has a value that does not fit the field", field.name()),
            None => "two members exclude each other".to_owned(),
        };
        if has_body { shape_error(&sentence) } else { path_error(&sentence) }
    })
}

fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))
}

fn shape_error(sentence: &str) -> Failure {
    Failure::malformed(ErrorReason::JsonInvalid, sentence)
}

fn path_error(sentence: &str) -> Failure {
    Failure::malformed(ErrorReason::PathInvalid, sentence)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::{
        gateway::canonical::route::Routes,
        proto::{
            ChangePasswordRequest, DESCRIPTORS, DeleteTenantRequest, ExplainPolicyRequest, ListTenantsRequest,
            ListUsersRequest, PolicyKind, ResetPasswordRequest, VerifyPasswordResponse, change_password_request,
            reset_password_request::SecretSource,
        },
    };

    fn transcode(method: &Method, target: &str, body: Value) -> Result<Bytes, (ErrorReason, String)> {
        let routes = Routes::read(&DESCRIPTORS);
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let matched = routes.find(method, path).unwrap();
        request(matched.route, &matched.variables, query, body)
            .map_err(|failure| (failure.reason, failure.status.message))
    }

    fn reset(target: &str, body: Value) -> Result<ResetPasswordRequest, (ErrorReason, String)> {
        transcode(&Method::POST, target, body).map(|encoded| ResetPasswordRequest::decode(encoded).unwrap())
    }

    const RESET: &str = "/v1/tenants/acme/users/7:resetPassword";

    #[test]
    fn path_and_body_make_one_message() {
        for body in
            [json!({"newPassword": "s3cret"}), json!({"new_password": "s3cret", "userId": "7", "tenantId": null})]
        {
            let request = reset(RESET, body).unwrap();
            assert_eq!((request.tenant_id.as_str(), request.user_id.as_str()), ("acme", "7"));
            assert!(matches!(request.secret_source, Some(SecretSource::NewPassword(password)) if password == "s3cret"));
        }
    }

    #[test]
    fn a_variable_is_decoded_once() {
        let request = reset("/v1/tenants/roma%3Aacme/users/%2561:resetPassword", json!({})).unwrap();
        assert_eq!((request.tenant_id.as_str(), request.user_id.as_str()), ("roma:acme", "%61"));
    }

    #[test]
    fn what_does_not_fit_the_message_is_refused_without_being_quoted() {
        let cases = [
            (json!([]), "the body must be a JSON object"),
            (json!({"nonsense": "s3cret"}), "the body has a member that the method does not know"),
            (json!({"newPassword": ["s3cret"]}), "new_password has a value that does not fit the field"),
            (json!({"generate": {"length": "s3cret"}}), "generate has a value that does not fit the field"),
            (json!({"generate": {"s3cret": 1}}), "generate has a value that does not fit the field"),
            (json!({"newPassword": "s3cret", "generate": {}}), "two members exclude each other"),
            (json!({"newPassword": "s3cret", "new_password": "s3cret"}), "new_password is given twice"),
            (json!({"userId": "s3cret"}), "user_id differs between path and body"),
            (json!({"userId": 7}), "user_id differs between path and body"),
        ];
        for (body, sentence) in cases {
            assert_eq!(reset(RESET, body), Err((ErrorReason::JsonInvalid, sentence.to_owned())));
        }
    }

    #[test]
    fn a_body_cannot_name_another_subject_than_the_path() {
        let refused = transcode(&Method::POST, "/v1/tenants/-/users/7:changePassword", json!({"username": "root"}));
        assert_eq!(refused, Err((ErrorReason::JsonInvalid, "two members exclude each other".to_owned())));

        let by_name =
            transcode(&Method::POST, "/v1/tenants/-/users:changePassword", json!({"username": "jo"})).unwrap();
        let subject = ChangePasswordRequest::decode(by_name).unwrap().subject;
        assert!(matches!(subject, Some(change_password_request::Subject::Username(name)) if name == "jo"));
    }

    #[test]
    fn query_parameters_fill_scalar_fields() {
        for target in ["/v1/tenants?pageSize=20&pageToken=a%2Bb+c", "/v1/tenants?page_token=a%2Bb%20c&page_size=20"] {
            let encoded = transcode(&Method::GET, target, json!({})).unwrap();
            let request = ListTenantsRequest::decode(encoded).unwrap();
            assert_eq!((request.page_size, request.page_token.as_str()), (20, "a+b c"), "{target}");
        }
    }

    #[test]
    fn a_query_says_what_a_deletion_and_a_list_need() {
        let target = "/v1/tenants/acme?force=true&etag=e-1&request_id=r%201&allowMissing=false";
        let request = DeleteTenantRequest::decode(transcode(&Method::DELETE, target, json!({})).unwrap()).unwrap();
        assert_eq!((request.tenant_id.as_str(), request.etag.as_str()), ("acme", "e-1"));
        assert_eq!((request.request_id.as_str(), request.force, request.allow_missing), ("r 1", true, false));
        let target =
            "/v1/tenants/acme/users?filter=username%20%3D%20%22ja*%22&orderBy=create_time+desc&count_total=true";
        let request = ListUsersRequest::decode(transcode(&Method::GET, target, json!({})).unwrap()).unwrap();
        assert_eq!((request.filter.as_str(), request.order_by.as_str()), ("username = \"ja*\"", "create_time desc"));
        assert!(request.count_total);
        let refused = |target| transcode(&Method::DELETE, target, json!({})).map_err(|(reason, _)| reason);
        for target in [
            "/v1/tenants/acme?force=1",
            "/v1/tenants/acme?force",
            "/v1/tenants/acme?x",
            "/v1/tenants/acme?etag=a&etag=a",
        ] {
            assert_eq!(refused(target), Err(ErrorReason::PathInvalid), "{target}");
        }
    }

    #[test]
    fn an_enum_in_a_path_goes_by_its_name_or_number() {
        let explain = |kind: &str| {
            let target = format!("/v1/tenants/acme/policies/{kind}:explain");
            transcode(&Method::GET, &target, json!({})).map(|bytes| ExplainPolicyRequest::decode(bytes).unwrap().kind())
        };
        assert_eq!(explain("POLICY_KIND_DEVICE"), Ok(PolicyKind::Device));
        assert_eq!(explain("2"), Ok(PolicyKind::Device));
        for kind in ["nonsense", "policy_kind_device", "2x"] {
            let sentence = "kind has a value that does not fit the field".to_owned();
            assert_eq!(explain(kind), Err((ErrorReason::PathInvalid, sentence)), "{kind}");
        }
    }

    #[test]
    fn a_query_that_does_not_fit_is_refused() {
        for (target, sentence) in [
            ("/v1/tenants?nonsense=1", "the query has a parameter that the method does not know"),
            ("/v1/tenants?pageSize=1&page_size=1", "page_size is given twice"),
            ("/v1/tenants?pageSize=many", "page_size has a value that does not fit the field"),
            ("/v1/tenants?pageToken=%", "the query holds a broken escape"),
            ("/v1/tenants/acme?tenantId=other", "tenant_id differs between path and body"),
        ] {
            let refused = transcode(&Method::GET, target, json!({})).map_err(|(_, sentence)| sentence);
            assert_eq!(refused, Err(sentence.to_owned()), "{target}");
        }
        let refused = transcode(&Method::POST, &format!("{RESET}?etag=x"), json!({}));
        assert_eq!(refused, Err((ErrorReason::PathInvalid, "the method takes no query parameters".to_owned())));
    }

    #[test]
    fn a_false_answer_says_false() {
        let routes = Routes::read(&DESCRIPTORS);
        let matched = routes.find(&Method::POST, "/v1/tenants/-/users:verifyPassword").unwrap();
        let json = response(matched.route, VerifyPasswordResponse::default().encode_to_vec().into()).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"verified":false,"userId":"","mustChange":false}"#);
    }
}
