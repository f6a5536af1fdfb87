//! hostPath volumes: the check or creation that their type asks for. Knows files only.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Makes sure that `path` is what `type_` says, making it if the type allows; the error is what the event shows.
pub fn check(path: &Path, type_: &str) -> Result<(), String> {
    let found = std::fs::metadata(path);
    let fail = |what: &str| format!("hostPath type check failed: {} is not a {what}", path.display());
    let is = |test: fn(&Metadata) -> bool| found.as_ref().is_ok_and(test);
    match type_ {
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_err() => make_dir(path),
        "FileOrCreate" if found.is_err() => make_file(path),
        "DirectoryOrCreate" | "Directory" if is(Metadata::is_dir) => Ok(()),
        "FileOrCreate" | "File" if is(Metadata::is_file) => Ok(()),
        "Socket" if is(|m| m.file_type().is_socket()) => Ok(()),
        "CharDevice" if is(|m| m.file_type().is_char_device()) => Ok(()),
        "BlockDevice" if is(|m| m.file_type().is_block_device()) => Ok(()),
        "DirectoryOrCreate" | "Directory" => Err(fail("directory")),
        "FileOrCreate" | "File" => Err(fail("file")),
        "Socket" => Err(fail("socket file")),
        "CharDevice" => Err(fail("character device")),
        "BlockDevice" => Err(fail("block device")),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

fn make_dir(path: &Path) -> Result<(), String> {
    let made =
        std::fs::create_dir_all(path).and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)));
    made.map_err(|e| format!("mkdir {}: {e}", path.display()))
}

fn make_file(path: &Path) -> Result<(), String> {
    let made =
        std::fs::File::create(path).and_then(|_| std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)));
    made.map_err(|e| format!("open {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        check(&at("made/deep"), "DirectoryOrCreate").unwrap();
        check(&at("file"), "FileOrCreate").unwrap();
        for (name, type_, ok) in [
            ("made", "Directory", true),
            ("made", "File", false),
            ("file", "File", true),
            ("file", "Socket", false),
            ("none", "", true),
            ("none", "Directory", false),
            ("none", "Nonsense", false),
        ] {
            assert_eq!(check(&at(name), type_).is_ok(), ok, "{name} as {type_}");
        }
    }
}
