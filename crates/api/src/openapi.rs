//! What the OpenAPI document says besides its paths: head, security, and the problems that every operation may answer with.

use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi as Document, Ref, RefOr, Required, Response, ResponseBuilder, Type,
};

use crate::error::{PROBLEM_JSON, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Drover",
        description = "The IoT platform that you run yourself: devices, what they measured, and what became of every message.\n\n\
            Every call but health, metrics and this documentation needs a token: the administrator's, or an API key for its own tenant \
            with the scope `api:read` (GET) or `api:write` (the others; not tenants and API keys). Lists come in pages. Errors are \
            problems (RFC 9457) that say which field is wrong and what to do.",
    ),
    servers((url = "/", description = "This server")),
    security(("token" = [])),
    tags(
        (name = "Devices", description = "The registry."),
        (name = "Credentials", description = "How devices prove who they are."),
        (name = "API keys", description = "How applications prove who they are, and what they may do."),
        (name = "Telemetry", description = "What devices measured and reported."),
        (name = "Sessions", description = "MQTT clients, connected or not, and the topics between them."),
        (name = "Balance", description = "What became of every message."),
        (name = "Tenants", description = "Groups of devices that see nothing of each other."),
        (name = "Operation", description = "The server itself."),
    ),
    components(schemas(Problem)),
)]
struct Head;

/// The document before its paths.
pub fn head() -> Document {
    Head::openapi()
}

/// Problems that any call with a token may answer with: status, name, description.
const ALWAYS: [(&str, &str, &str); 7] = [
    ("400", "Invalid", "A parameter or member is wrong; `errors` names it"),
    ("401", "Unauthenticated", "The token is missing or not known"),
    ("403", "Denied", "The API key has no scope for this call, or is another tenant's"),
    ("404", "UnknownTenant", "`X-Drover-Tenant` names a tenant that does not exist"),
    ("500", "Internal", "A fault of the server; its log has the detail"),
    (
        "503",
        "Unavailable",
        "A part that is needed is away, or too many requests are in work; `Retry-After` says when to try again",
    ),
    ("504", "Timeout", "No answer within 30 s"),
];
/// Problems of calls with a body.
const WITH_BODY: [(&str, &str, &str); 2] = [
    ("413", "TooLarge", "The body has more than 1 MiB"),
    ("415", "UnsupportedMediaType", "The body is not declared as JSON"),
];

/// Adds to each operation what all of them share.
pub fn finish(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The administrator's token (`<data dir>/admin.token`, or `DROVER_TOKEN`), or the secret of an API key."))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    components.parameters.insert("Tenant".to_owned(), RefOr::T(tenant_header()));
    for (_, name, description) in ALWAYS.into_iter().chain(WITH_BODY) {
        components.responses.insert(name.to_owned(), RefOr::T(problem(description)));
    }
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            if operation.security.is_none() {
                complete(operation);
            }
        }
    }
}

fn complete(operation: &mut Operation) {
    let tenant = RefOr::Ref(Ref::new("#/components/parameters/Tenant"));
    operation.parameters.get_or_insert_default().push(tenant);
    let with_body = WITH_BODY.into_iter().filter(|_| operation.request_body.is_some());
    for (status, name, _) in ALWAYS.into_iter().chain(with_body) {
        let reference = RefOr::Ref(Ref::new(format!("#/components/responses/{name}")));
        operation.responses.responses.entry(status.to_owned()).or_insert(reference);
    }
}

fn tenant_header() -> Parameter {
    ParameterBuilder::new()
        .name("X-Drover-Tenant")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The tenant to work for; `default` when absent"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .build()
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build()
}
