//! The sources as the compiler has them without tests: every path of every module, with where it stands.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, UseTree,
    spanned::Spanned as _,
    visit::{self, Visit},
};

/// A path such as `crate::domain::Error` or `tokio::time::sleep`, in a `use`, a type, an expression or a macro.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mention {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The top-level module it stands in; empty for `main.rs` and `lib.rs` themselves.
    pub(crate) module: String,
    /// Without `self` and `super`: those are resolved to a path from `crate`.
    pub(crate) path: Vec<String>,
}

/// Every `.rs` file below `src`, with its text.
pub(crate) fn files() -> Vec<(String, String)> {
    fn walk(directory: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((name(&path), text));
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    files.sort();
    files
}

/// Every path that is mentioned outside of tests, each once a line.
pub(crate) fn mentions() -> Vec<Mention> {
    let mut mentions = BTreeSet::new();
    for start in ["src/lib.rs", "src/main.rs"] {
        read(&root().join(start), &mut Vec::new(), &mut mentions);
    }
    assert!(mentions.len() > 1_000, "only {} paths were found", mentions.len());
    mentions.into_iter().collect()
}

/// Follows the tree of modules, as the compiler does.
fn read(path: &Path, module: &mut Vec<String>, mentions: &mut BTreeSet<Mention>) {
    let text = fs::read_to_string(path).unwrap();
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = Reader { file: name(path), module: module.clone(), outlined: Vec::new(), mentions };
    reader.visit_file(&parsed);
    let is_directory = ["mod.rs", "lib.rs", "main.rs"].iter().any(|file| path.ends_with(file));
    let directory = if is_directory { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    for child in reader.outlined {
        let candidates = [directory.join(format!("{child}.rs")), directory.join(&child).join("mod.rs")];
        let found = candidates.iter().find(|candidate| candidate.exists());
        module.push(child);
        read(found.unwrap_or_else(|| panic!("no file for the module {module:?}")), module, mentions);
        module.pop();
    }
}

struct Reader<'a> {
    file: String,
    module: Vec<String>,
    outlined: Vec<String>,
    mentions: &'a mut BTreeSet<Mention>,
}

impl Reader<'_> {
    fn note(&mut self, line: usize, path: &[String]) {
        let mut above = self.module.clone();
        let mut rest = path;
        let mut relative = false;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => {
                    above.pop();
                }
                _ => break,
            }
            relative = true;
            rest = after;
        }
        let path = match rest.first().map(String::as_str) {
            _ if relative => ["crate".to_owned()].into_iter().chain(above).chain(rest.iter().cloned()).collect(),
            // The binary is no layer of its own: it reaches the library by its name.
            Some("rekey") => ["crate".to_owned()].into_iter().chain(rest[1..].iter().cloned()).collect(),
            _ => rest.to_vec(),
        };
        let module = self.module.first().cloned().unwrap_or_default();
        self.mentions.insert(Mention { file: self.file.clone(), line, module, path });
    }

    fn note_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, before);
                }
            }
            UseTree::Name(_) | UseTree::Rename(_) | UseTree::Glob(_) => {
                let last = match tree {
                    UseTree::Name(name) => name.ident.to_string(),
                    UseTree::Rename(rename) => rename.ident.to_string(),
                    _ => "*".to_owned(),
                };
                let path: Vec<_> = before.iter().cloned().chain([last]).collect();
                self.note(tree.span().start().line, &path);
            }
        }
    }

    /// What is inside of a macro's brackets is not parsed: names joined by `::` are paths enough.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.note_path(line, &mut path);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.note_path(line, &mut path);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.note_tokens(group.stream());
                    }
                }
            }
        }
        self.note_path(line, &mut path);
    }

    fn note_path(&mut self, line: usize, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.note(line, path);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if module.content.is_none() {
            self.outlined.push(name);
            return;
        }
        self.module.push(name);
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(path.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // A path of one segment, which only the search for `expose_secret` reads.
        self.note(call.method.span().start().line, &[call.method.to_string()]);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.note_tokens(called.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.note_tokens(list.tokens.clone());
        visit::visit_meta_list(self, list);
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The path from the root of the package.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
