//! The proto files: everything in them is documented, and nothing that the committed baseline has is gone or different. The descriptors are
//! those that the crate `proto` was built from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

use crate::Violation;

/// What was published, without comments.
const BASELINE: &str = "proto/baseline.binpb";
/// How an intended change of it is made.
const RENEW: &str = "cargo run -p drover-tests --bin tidy -- --renew-baseline";

// Numbers of fields of descriptor.proto, of which the paths of comments are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const ENUM_VALUE: i32 = 2;
const SERVICE_METHOD: i32 = 2;

/// Something that a file declares.
struct Declared {
    name: String,
    /// Its place among the comments.
    path: Vec<i32>,
    /// What callers rely on.
    contract: String,
    needs_comment: bool,
}

/// Checks what was built against the baseline below this folder.
pub fn check(root: &Path) -> Result<Vec<Violation>> {
    let baseline = fs::read(root.join(BASELINE))
        .with_context(|| format!("can't read {BASELINE}; make it by {RENEW}"))?;
    let baseline = FileDescriptorSet::decode(&*baseline).with_context(|| format!("{BASELINE} is not one"))?;
    let current = current()?;
    let mut violations: Vec<_> = current.file.iter().flat_map(undocumented).collect();
    violations.extend(broken(&baseline, &current));
    Ok(violations)
}

/// Makes what is there now the baseline.
pub fn renew_baseline(root: &Path) -> Result<()> {
    let mut current = current()?;
    for file in &mut current.file {
        file.source_code_info = None;
    }
    fs::write(root.join(BASELINE), current.encode_to_vec()).with_context(|| format!("can't write {BASELINE}"))
}

fn current() -> Result<FileDescriptorSet> {
    FileDescriptorSet::decode(drover_proto::FILE_DESCRIPTOR_SET).context("the built descriptors")
}

/// What has no comment. Requests and responses are told of at their method.
fn undocumented(file: &FileDescriptorProto) -> Vec<Violation> {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let mut lines = BTreeMap::new();
    let mut documented = BTreeSet::new();
    for location in locations {
        lines.insert(location.path.clone(), location.span.first().copied().unwrap_or_default());
        if !location.leading_comments().trim().is_empty() || !location.trailing_comments().trim().is_empty() {
            documented.insert(location.path.clone());
        }
    }
    let missing = declared(file).into_iter();
    let missing = missing.filter(|declared| declared.needs_comment && !documented.contains(&declared.path));
    missing
        .map(|declared| {
            let line = lines.get(&declared.path).and_then(|line| usize::try_from(line + 1).ok());
            let message = format!("{} has no comment: say above it what it is for", declared.name);
            Violation::new(&path(file), line.unwrap_or(1), message)
        })
        .collect()
}

/// What the baseline has, and the current files do not have in the same way.
fn broken(baseline: &FileDescriptorSet, current: &FileDescriptorSet) -> Vec<Violation> {
    let all = current.file.iter().flat_map(declared);
    let now: BTreeMap<String, String> = all.map(|declared| (declared.name, declared.contract)).collect();
    let mut violations = Vec::new();
    for file in &baseline.file {
        for Declared { name, contract, .. } in declared(file) {
            let what = match now.get(&name) {
                None => format!("{name} ({contract}) is gone"),
                Some(is) if *is != contract => format!("{name} was {contract:?} and is {is:?}"),
                Some(_) => continue,
            };
            let message = format!(
                "{what}: whoever was built before can't talk to it any more. Add something new beside it; only before a release, {RENEW}"
            );
            violations.push(Violation::new(&path(file), 1, message));
        }
    }
    violations
}

fn path(file: &FileDescriptorProto) -> String {
    format!("proto/{}", file.name())
}

fn declared(file: &FileDescriptorProto) -> Vec<Declared> {
    let mut all = Vec::new();
    let methods = file.service.iter().flat_map(|service| &service.method);
    let spoken: BTreeSet<&str> =
        methods.flat_map(|method| [method.input_type(), method.output_type()]).collect();
    for (index, message) in (0..).zip(&file.message_type) {
        let name = format!("{}.{}", file.package(), message.name());
        let is_spoken = spoken.contains(format!(".{name}").as_str());
        of_message(&name, message, (vec![FILE_MESSAGE, index], !is_spoken), &mut all);
    }
    for (index, one) in (0..).zip(&file.enum_type) {
        of_enum(&format!("{}.{}", file.package(), one.name()), one, vec![FILE_ENUM, index], &mut all);
    }
    for (index, service) in (0..).zip(&file.service) {
        let name = format!("{}.{}", file.package(), service.name());
        of_service(&name, service, vec![FILE_SERVICE, index], &mut all);
    }
    all
}

fn of_message(
    name: &str,
    message: &DescriptorProto,
    (at, needs_comment): (Vec<i32>, bool),
    all: &mut Vec<Declared>,
) {
    // The entries of a map are messages that nobody wrote.
    let is_map = message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
    for (index, field) in (0..).zip(&message.field) {
        all.push(Declared {
            name: format!("field {} of {name}", field.number()),
            path: below(&at, MESSAGE_FIELD, index),
            contract: contract(message, field),
            needs_comment: !is_map,
        });
    }
    for (index, nested) in (0..).zip(&message.nested_type) {
        let name = format!("{name}.{}", nested.name());
        let is_map = nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
        of_message(&name, nested, (below(&at, MESSAGE_NESTED, index), !is_map), all);
    }
    for (index, one) in (0..).zip(&message.enum_type) {
        of_enum(&format!("{name}.{}", one.name()), one, below(&at, MESSAGE_ENUM, index), all);
    }
    let name = format!("message {name}");
    all.push(Declared { name, path: at, contract: "message".to_owned(), needs_comment });
}

/// A field as it is written: presence, type, name, and in which `oneof`.
fn contract(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let presence = match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ => "",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
    let oneof = oneof.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    let oneof = oneof.map(|oneof| format!(" in {}", oneof.name())).unwrap_or_default();
    format!("{presence}{kind} {}{oneof}", field.name())
}

fn of_enum(name: &str, one: &EnumDescriptorProto, at: Vec<i32>, all: &mut Vec<Declared>) {
    for (index, value) in (0..).zip(&one.value) {
        all.push(Declared {
            name: format!("value {} of {name}", value.number()),
            path: below(&at, ENUM_VALUE, index),
            contract: value.name().to_owned(),
            needs_comment: true,
        });
    }
    let name = format!("enum {name}");
    all.push(Declared { name, path: at, contract: "enum".to_owned(), needs_comment: true });
}

fn of_service(name: &str, service: &ServiceDescriptorProto, at: Vec<i32>, all: &mut Vec<Declared>) {
    for (index, method) in (0..).zip(&service.method) {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        let contract = format!(
            "({}{}) returns ({}{})",
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type()
        );
        let path = below(&at, SERVICE_METHOD, index);
        all.push(Declared {
            name: format!("method {name}/{}", method.name()),
            path,
            contract,
            needs_comment: true,
        });
    }
    let name = format!("service {name}");
    all.push(Declared { name, path: at, contract: "service".to_owned(), needs_comment: true });
}

fn below(at: &[i32], kind: i32, index: i32) -> Vec<i32> {
    [at, &[kind, index]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The current files with one change.
    fn changed(change: impl FnOnce(&mut FileDescriptorProto)) -> Vec<String> {
        let baseline = current().unwrap();
        let mut now = baseline.clone();
        let file = now.file.iter_mut().find(|file| file.name().ends_with("devices.proto")).unwrap();
        change(file);
        broken(&baseline, &now).into_iter().map(|violation| violation.to_string()).collect()
    }

    fn device(file: &mut FileDescriptorProto) -> &mut DescriptorProto {
        file.message_type.iter_mut().find(|message| message.name() == "Device").unwrap()
    }

    fn only(messages: &[String], part: &str) {
        assert!(messages.len() == 1 && messages[0].contains(part), "{messages:?}");
        assert!(messages[0].starts_with("proto/drover/devices/v1/devices.proto:1: "), "{messages:?}");
    }

    #[test]
    fn additions_pass() {
        let messages = changed(|file| {
            let mut field = device(file).field[0].clone();
            (field.number, field.name) = (Some(99), Some("colour".to_owned()));
            device(file).field.push(field);
            let method = file.service[0].method[0].clone();
            file.service[0]
                .method
                .push(prost_types::MethodDescriptorProto { name: Some("Paint".to_owned()), ..method });
        });
        assert_eq!(messages, Vec::<String>::new());
    }

    #[test]
    fn a_field_that_is_removed_renumbered_retyped_or_renamed_is_told() {
        let removed = changed(|file| drop(device(file).field.remove(0)));
        only(&removed, "field 1 of drover.devices.v1.Device (string id) is gone");
        let renumbered = changed(|file| device(file).field[0].number = Some(99));
        only(&renumbered, "field 1 of drover.devices.v1.Device (string id) is gone");
        let retyped = changed(|file| device(file).field[0].set_type(Type::Bytes));
        only(&retyped, r#"was "string id" and is "bytes id""#);
        let renamed = changed(|file| device(file).field[0].name = Some("name".to_owned()));
        only(&renamed, r#"was "string id" and is "string name""#);
        let repeated = changed(|file| device(file).field[0].set_label(Label::Repeated));
        only(&repeated, r#"is "repeated string id""#);
    }

    #[test]
    fn a_method_that_is_removed_or_speaks_otherwise_is_told() {
        let removed = changed(|file| drop(file.service[0].method.remove(1)));
        only(&removed, "method drover.devices.v1.Devices/GetDevice");
        let streams = changed(|file| file.service[0].method[1].server_streaming = Some(true));
        only(&streams, "(stream .drover.devices.v1.GetDeviceResponse)");
    }

    #[test]
    fn what_has_no_comment_is_told_with_its_line() {
        let mut file =
            current().unwrap().file.into_iter().find(|file| file.name().ends_with("devices.proto")).unwrap();
        assert_eq!(undocumented(&file), []);
        for location in &mut file.source_code_info.as_mut().unwrap().location {
            if location.path == [FILE_MESSAGE, 0, MESSAGE_FIELD, 0] {
                (location.leading_comments, location.span) = (None, vec![41, 2, 16]);
            }
        }
        let told: Vec<_> = undocumented(&file).iter().map(ToString::to_string).collect();
        let expected = "proto/drover/devices/v1/devices.proto:42: field 1 of drover.devices.v1.Device has no comment: \
                        say above it what it is for";
        assert_eq!(told, [expected]);
    }
}
