//! Documents of other servers: the part of a v2 document that lies below a path, put beside what is there already, or
//! made a v3 document for a server that has none.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Paths with all that they refer to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    /// Paths.
    pub paths: Map<String, Value>,
    /// Types.
    pub definitions: Map<String, Value>,
    /// Parameters that operations share.
    pub parameters: Map<String, Value>,
}

/// Where a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Types.
    Definitions,
    /// Shared parameters.
    Parameters,
}

impl Section {
    const ALL: [Self; 2] = [Self::Definitions, Self::Parameters];

    fn prefix(self) -> &'static str {
        match self {
            Self::Definitions => DEFINITIONS,
            Self::Parameters => PARAMETERS,
        }
    }

    /// Section and name of a reference.
    fn read(reference: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|section| Some((section, reference.strip_prefix(section.prefix())?)))
    }
}

impl Part {
    /// A v2 document with those paths only that lie below `prefix`. As upstream does it, a type goes with the other paths if
    /// nothing else refers to it.
    pub fn below(document: &Value, prefix: &str) -> Self {
        let of = |section: &str| document[section].as_object().cloned().unwrap_or_default();
        let (paths, others): (Vec<_>, Vec<_>) = of("paths").into_iter().partition(|(path, _)| path.starts_with(prefix));
        let (paths, others): (Map<_, _>, Map<_, _>) = (paths.into_iter().collect(), others.into_iter().collect());
        let mut part = Self { paths, definitions: of("definitions"), parameters: of("parameters") };
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        let all = part.paths.values().chain(part.definitions.values()).chain(part.parameters.values());
        all.for_each(|value| references(value, &mut stay));
        others.values().for_each(|path| references(path, &mut go));
        let stay: BTreeSet<_> = stay.into_iter().collect();
        for (section, name) in go.into_iter().filter(|reference| !stay.contains(reference)) {
            if section == Section::Definitions {
                part.definitions.remove(&name);
            }
        }
        part
    }

    fn section(&self, section: Section) -> &Map<String, Value> {
        match section {
            Section::Definitions => &self.definitions,
            Section::Parameters => &self.parameters,
        }
    }

    fn section_mut(&mut self, section: Section) -> &mut Map<String, Value> {
        match section {
            Section::Definitions => &mut self.definitions,
            Section::Parameters => &mut self.parameters,
        }
    }

    /// Takes in another part. A path that is there stays; a name that stands for something else, here or in what is
    /// `known` beside it, gets `_v2` or more behind it, as upstream does.
    pub fn join(&mut self, mut other: Self, known: &dyn Fn(Section, &str) -> Option<Value>) {
        let mut renamed: BTreeMap<(Section, String), String> = BTreeMap::new();
        for section in Section::ALL {
            let place = self.section(section);
            // What is known beside it may be said in other words there; what another server says may not.
            let clashes = |name: &str, value: &Value| match place.get(name) {
                Some(taken) => !same(taken, value),
                None => known(section, name).is_some_and(|taken| !alike(&taken, value)),
            };
            let theirs = other.section(section);
            for (name, value) in theirs.iter().filter(|(name, value)| clashes(name, value)) {
                let free = |new: &String| !theirs.contains_key(new) && !clashes(new, value);
                let new = (2..).map(|n| format!("{name}_v{n}")).find(free);
                renamed.extend(new.map(|new| ((section, name.clone()), new)));
            }
        }
        other.rename(&renamed);
        for section in Section::ALL {
            for (name, value) in std::mem::take(other.section_mut(section)) {
                if known(section, &name).is_none() {
                    self.section_mut(section).entry(name).or_insert(value);
                }
            }
        }
        for (path, value) in other.paths {
            self.paths.entry(path).or_insert(value);
        }
    }

    fn rename(&mut self, renamed: &BTreeMap<(Section, String), String>) {
        if renamed.is_empty() {
            return;
        }
        let change = |reference: &mut String| {
            let Some((section, name)) = Section::read(reference) else { return };
            if let Some(new) = renamed.get(&(section, name.to_owned())) {
                *reference = format!("{}{new}", section.prefix());
            }
        };
        let Self { paths, definitions, parameters } = self;
        for value in paths.values_mut().chain(definitions.values_mut()).chain(parameters.values_mut()) {
            each_reference(value, &change);
        }
        for section in Section::ALL {
            let named = std::mem::take(self.section_mut(section)).into_iter().map(|(name, value)| {
                let new = renamed.get(&(section, name.clone())).cloned();
                (new.unwrap_or(name), value)
            });
            *self.section_mut(section) = named.collect();
        }
    }

    /// The same as a v3 document.
    pub fn to_v3(&self, version: &str) -> Value {
        let item = |item: &Value| item_v3(item, &self.parameters);
        let paths: Map<String, Value> = self.paths.iter().map(|(path, value)| (path.clone(), item(value))).collect();
        let schemas: Map<String, Value> = self.definitions.iter().map(|(k, v)| (k.clone(), schema_v3(v))).collect();
        let shared = self.parameters.iter().filter(|(_, v)| v["in"] != "body");
        let shared = shared.map(|(k, v)| (k.clone(), parameter_v3(v)));
        let shared: Map<String, Value> = shared.collect();
        let mut components = json!({"schemas": schemas});
        if !shared.is_empty() {
            components["parameters"] = shared.into();
        }
        let info = json!({"title": "Kubernetes", "version": version});
        json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": components})
    }
}

fn references(value: &Value, out: &mut Vec<(Section, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "$ref").and_then(Section::read) {
                    Some((section, name)) => out.push((section, name.to_owned())),
                    None => references(value, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

fn each_reference(value: &mut Value, change: &dyn Fn(&mut String)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(reference) if key == "$ref" => change(reference),
                    value => each_reference(value, change),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| each_reference(v, change)),
        _ => {}
    }
}

/// Whether both say the same, in whatever words, and whatever kinds they are used for.
fn alike(a: &Value, b: &Value) -> bool {
    // A property may be called `description` as well; it is no text.
    let counts = |(key, value): &(&String, &Value)| {
        !(*key == "description" && value.is_string()) && *key != "x-kubernetes-group-version-kind"
    };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().filter(counts).count() == y.iter().filter(counts).count()
                && x.iter().filter(counts).all(|(key, value)| y.get(key).is_some_and(|other| alike(value, other)))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| alike(x, y)),
        _ => a == b,
    }
}

/// Whether two types are the same but for the kinds that they stand for.
fn same(a: &Value, b: &Value) -> bool {
    let (Value::Object(x), Value::Object(y)) = (a, b) else { return a == b };
    let counts = |(key, _): &(&String, &Value)| *key != "x-kubernetes-group-version-kind";
    x.iter().filter(counts).count() == y.iter().filter(counts).count()
        && x.iter().filter(counts).all(|(key, value)| y.get(key) == Some(value))
}

fn item_v3(item: &Value, shared: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    for (key, value) in item.as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "parameters" => value.as_array().into_iter().flatten().map(parameter_v3).collect(),
            method if METHODS.contains(&method) => operation_v3(value, shared),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    out.into()
}

fn operation_v3(operation: &Value, shared: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    for (key, value) in operation.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "parameters" | "responses" | "consumes" | "produces" | "schemes") {
            out.insert(key.clone(), value.clone());
        }
    }
    let content = |schema: &Value, media: &Value| -> Map<String, Value> {
        let media = media.as_array().into_iter().flatten().filter_map(Value::as_str);
        media.map(|m| (m.to_owned(), json!({"schema": schema_v3(schema)}))).collect()
    };
    let meant = |parameter: &'_ Value| -> Value {
        let name = parameter["$ref"].as_str().and_then(|r| r.strip_prefix(PARAMETERS));
        name.and_then(|name| shared.get(name)).unwrap_or(parameter).clone()
    };
    let (bodies, others): (Vec<&Value>, Vec<&Value>) =
        operation["parameters"].as_array().into_iter().flatten().partition(|p| meant(p)["in"] == "body");
    if let Some(body) = bodies.first().map(|p| meant(p)) {
        let mut request = json!({"content": content(&body["schema"], &operation["consumes"])});
        if body["required"] == true {
            request["required"] = true.into();
        }
        out.insert("requestBody".into(), request);
    }
    if !others.is_empty() {
        out.insert("parameters".into(), others.into_iter().map(parameter_v3).collect());
    }
    let mut responses = Map::new();
    for (code, response) in operation["responses"].as_object().into_iter().flatten() {
        let mut made = json!({"description": response["description"].as_str().unwrap_or("")});
        if response["schema"].is_object() {
            made["content"] = content(&response["schema"], &operation["produces"]).into();
        }
        responses.insert(code.clone(), made);
    }
    out.insert("responses".into(), responses.into());
    out.into()
}

/// A parameter that is no body.
fn parameter_v3(parameter: &Value) -> Value {
    if let Some(name) = parameter["$ref"].as_str().and_then(|r| r.strip_prefix(PARAMETERS)) {
        return json!({"$ref": format!("#/components/parameters/{name}")});
    }
    let (mut out, mut schema) = (Map::new(), Map::new());
    for (key, value) in parameter.as_object().into_iter().flatten() {
        let kept = matches!(key.as_str(), "name" | "in" | "description" | "required" | "allowEmptyValue");
        if kept { &mut out } else { &mut schema }.insert(key.clone(), value.clone());
    }
    out.insert("schema".into(), schema.into());
    out.into()
}

/// References lead to where v3 has its types, and stand alone.
fn schema_v3(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(DEFINITIONS));
            let mut rest: Map<String, Value> =
                map.iter().filter(|(key, _)| *key != "$ref").map(|(k, v)| (k.clone(), schema_v3(v))).collect();
            let Some(name) = name else { return rest_with(rest, map) };
            let reference = super::reference(name);
            if rest.is_empty() {
                return reference;
            }
            rest.insert("allOf".into(), json!([reference]));
            rest.into()
        }
        Value::Array(list) => list.iter().map(schema_v3).collect(),
        other => other.clone(),
    }
}

/// Keeps a reference that leads elsewhere.
fn rest_with(mut rest: Map<String, Value>, all: &Map<String, Value>) -> Value {
    rest.extend(all.get("$ref").map(|elsewhere| ("$ref".to_owned(), elsewhere.clone())));
    rest.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(field: &str) -> Value {
        let body = json!({"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/A"}});
        let shared = json!({"$ref": "#/parameters/pretty"});
        let operation = json!({"operationId": "x", "consumes": ["*/*"], "produces": ["application/json"],
            "parameters": [body, shared],
            "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/A"}}}});
        json!({"paths": {"/apis/g/v1/as": {"post": operation}, "/apis/": {"get": {}}},
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string"}, "unused": {}},
            "definitions": {
                "A": {"type": "object", "properties": {"b": {"description": "a b", "$ref": "#/definitions/B"}}},
                "B": {"type": "object", "properties": {field: {"type": "string"}}},
                "Unused": {"type": "object"}}})
    }

    #[test]
    fn a_part_has_all_types_but_those_of_other_paths() {
        let part = Part::below(&document("x"), "/apis/g/v1/");
        let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(&part.paths), "/apis/g/v1/as");
        assert_eq!(keys(&part.definitions), "A B Unused", "what nothing refers to is no part of the other paths");
        assert_eq!(keys(&part.parameters), "pretty unused");
        let mut document = document("x");
        let other = json!({"$ref": "#/definitions/Unused"});
        document["paths"]["/apis/"]["get"]["responses"]["200"]["schema"] = other.clone();
        let part = Part::below(&document, "/apis/g/v1/");
        assert_eq!(keys(&part.definitions), "A B", "it goes with the only path that refers to it");
        document["definitions"]["B"]["items"] = other;
        assert_eq!(keys(&Part::below(&document, "/apis/g/v1/").definitions), "A B Unused");
    }

    #[test]
    fn what_two_servers_say_in_other_words_is_not_the_same() {
        let part = |words: &str| {
            let mut document = document("x");
            document["definitions"]["B"]["description"] = words.into();
            document["definitions"]["B"]["x-kubernetes-group-version-kind"] = json!([{"kind": words}]);
            Part::below(&document, "/apis/g/v1/")
        };
        let mut all = part("one");
        all.join(part("two"), &|_, _| None);
        assert!(all.definitions.contains_key("B_v2"));
        let mut other = part("one");
        other.definitions["B"]["x-kubernetes-group-version-kind"] = Value::Null;
        all.join(other, &|_, _| None);
        assert!(!all.definitions.contains_key("B_v3"), "the kinds do not count");
    }

    #[test]
    fn a_name_that_stands_for_something_else_is_changed() {
        let part = Part::below(&document("x"), "/apis/g/v1/");
        let known = |section: Section, name: &str| match (section, name) {
            // The same in other words.
            (Section::Definitions, "A") => {
                let b = json!({"description": "another", "$ref": "#/definitions/B"});
                Some(json!({"description": "An A.", "type": "object", "properties": {"b": b}}))
            }
            (Section::Definitions, "B") => Some(json!({"type": "object"})),
            _ => None,
        };
        let mut all = Part::default();
        all.join(part.clone(), &known);
        assert_eq!(all.definitions.keys().collect::<Vec<_>>(), ["B_v2", "Unused"]);
        assert_eq!(all.parameters.len(), 2);
        all.join(Part::below(&document("y"), "/apis/g/v1/"), &known);
        assert_eq!(all.definitions.keys().collect::<Vec<_>>(), ["B_v2", "B_v3", "Unused"]);
        all.join(part, &known);
        assert_eq!(all.definitions.len(), 3, "what is there under the new name is used again");
        let mut alone = Part::below(&document("x"), "/apis/g/v1/");
        alone.join(Part::below(&document("y"), "/apis/"), &|_, _| None);
        let text = Value::from(alone.definitions.clone()).to_string();
        assert!(alone.definitions.contains_key("B_v2") && !text.contains("\"#/definitions/B_v2\""), "{text}");
        assert_eq!(alone.paths.len(), 2);
    }

    #[test]
    fn references_follow_the_new_name() {
        let mut all = Part::default();
        let known = |section: Section, name: &str| {
            (section == Section::Definitions && name == "A").then(|| json!({"type": "string"}))
        };
        all.join(Part::below(&document("x"), "/apis/g/v1/"), &known);
        let schema = &all.paths["/apis/g/v1/as"]["post"]["responses"]["200"]["schema"];
        assert_eq!(*schema, json!({"$ref": "#/definitions/A_v2"}));
        assert_eq!(all.definitions["A_v2"]["properties"]["b"]["$ref"], "#/definitions/B");
    }

    #[test]
    fn nonsense_does_no_harm() {
        let document = json!({"paths": {"/a/x": 5, "/a/y": {"get": "z", "post": {"parameters": {}, "responses": [1]}}},
            "definitions": {"B": [1]}, "parameters": "none"});
        let part = Part::below(&document, "/a/");
        let mut all = Part::default();
        all.join(part.clone(), &|_, _| None);
        assert_eq!(all.paths.len(), 2);
        assert!(part.to_v3("v1")["paths"].is_object());
        let Part { paths, definitions, parameters } = all;
        let made =
            super::super::protobuf(&json!({"paths": paths, "definitions": definitions, "parameters": parameters}));
        assert!(!made.is_empty());
        assert_eq!(Part::below(&json!([]), "/"), Part::default());
    }

    #[test]
    fn a_body_that_is_shared_is_no_parameter_of_v3() {
        let mut document = document("x");
        let body = document["paths"]["/apis/g/v1/as"]["post"]["parameters"][0].take();
        document["parameters"]["body-1"] = body;
        document["paths"]["/apis/g/v1/as"]["post"]["parameters"][0] = json!({"$ref": "#/parameters/body-1"});
        let v3 = Part::below(&document, "/apis/g/v1/").to_v3("v1");
        assert_eq!(v3["paths"]["/apis/g/v1/as"]["post"]["requestBody"]["required"], true);
        assert_eq!(v3["components"]["parameters"].as_object().map(Map::len), Some(2));
    }

    #[test]
    fn a_v3_document_is_made() {
        let v3 = Part::below(&document("x"), "/apis/g/v1/").to_v3("v1");
        let reference = json!({"$ref": "#/components/schemas/A"});
        let post = &v3["paths"]["/apis/g/v1/as"]["post"];
        assert_eq!(post["requestBody"], json!({"content": {"*/*": {"schema": reference}}, "required": true}));
        assert_eq!(post["parameters"], json!([{"$ref": "#/components/parameters/pretty"}]));
        assert_eq!(post["responses"]["200"]["content"], json!({"application/json": {"schema": reference}}));
        let b = json!({"description": "a b", "allOf": [{"$ref": "#/components/schemas/B"}]});
        assert_eq!(v3["components"]["schemas"]["A"]["properties"]["b"], b);
        let pretty = json!({"name": "pretty", "in": "query", "schema": {"type": "string"}});
        assert_eq!(v3["components"]["parameters"]["pretty"], pretty);
    }
}
