//! Builds small OCI image archives from files, without a registry or a build tool: one uncompressed layer, one
//! manifest, one tar. Also makes the pause program. Pure: bytes in, bytes out; knows nothing of the runtime.

use serde_json::json;
use sha2::{Digest, Sha256};

/// A file, directory or link of an image.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A directory and its mode.
    Dir(String, u32),
    /// A file, its mode and content.
    File(String, u32, Vec<u8>),
    /// A symbolic link and its target.
    Link(String, String),
}

/// What an image is made of.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Full reference, such as `registry.k8s.io/pause:3.9`.
    pub reference: String,
    /// The layer's content, parents before children.
    pub entries: Vec<Entry>,
    /// `Entrypoint` of the image.
    pub entrypoint: Vec<String>,
    /// `Cmd` of the image.
    pub cmd: Vec<String>,
    /// `Env` of the image.
    pub env: Vec<String>,
    /// `User` of the image.
    pub user: String,
}

/// The pause image under the reference that the sandbox configuration names.
pub fn pause(reference: &str) -> Spec {
    Spec {
        reference: reference.into(),
        entries: vec![Entry::File("pause".into(), 0o755, pause_program(std::env::consts::ARCH))],
        entrypoint: vec!["/pause".into()],
        user: "65535:65535".into(),
        ..Spec::default()
    }
}

/// An image around a static busybox: `/bin/busybox` and a link for each given applet.
pub fn busybox(reference: &str, program: Vec<u8>, applets: &[&str]) -> Spec {
    let mut entries: Vec<Entry> =
        ["bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "var", "var/www"]
            .iter()
            .map(|d| Entry::Dir((*d).into(), 0o755))
            .collect();
    entries.push(Entry::Dir("tmp".into(), 0o1777));
    entries.push(Entry::File(
        "etc/passwd".into(),
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n".to_vec(),
    ));
    entries.push(Entry::File("etc/group".into(), 0o644, b"root:x:0:\nnobody:x:65534:\n".to_vec()));
    // A static glibc looks names up through nsswitch and crashes without it.
    entries.push(Entry::File("etc/nsswitch.conf".into(), 0o644, b"hosts: files dns\n".to_vec()));
    entries.push(Entry::File("bin/busybox".into(), 0o755, program));
    entries.extend(applets.iter().map(|a| Entry::Link(format!("bin/{a}"), "/bin/busybox".into())));
    Spec {
        reference: reference.into(),
        entries,
        cmd: vec!["/bin/sh".into()],
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        ..Spec::default()
    }
}

/// The archive of an image, as `ctr images import` reads it.
pub fn archive(spec: &Spec) -> Vec<u8> {
    let mut layer = Vec::new();
    for entry in &spec.entries {
        match entry {
            Entry::Dir(path, mode) => tar_entry(&mut layer, path, *mode, b'5', "", &[]),
            Entry::File(path, mode, content) => tar_entry(&mut layer, path, *mode, b'0', "", content),
            Entry::Link(path, target) => tar_entry(&mut layer, path, 0o777, b'2', target, &[]),
        }
    }
    layer.extend([0; 1024]);

    let layer_digest = digest(&layer);
    let mut config = serde_json::Map::new();
    for (key, list) in [("Entrypoint", &spec.entrypoint), ("Cmd", &spec.cmd), ("Env", &spec.env)] {
        if !list.is_empty() {
            config.insert(key.into(), json!(list));
        }
    }
    if !spec.user.is_empty() {
        config.insert("User".into(), json!(spec.user));
    }
    let config = json!({
        "architecture": oci_arch(std::env::consts::ARCH), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", digest(config.as_bytes())), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{layer_digest}"), "size": layer.len()}],
    })
    .to_string();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", digest(manifest.as_bytes())), "size": manifest.len(),
        "annotations": {"io.containerd.image.name": spec.reference, "org.opencontainers.image.ref.name": spec.reference},
    }]})
    .to_string();

    let mut out = Vec::new();
    tar_entry(&mut out, "oci-layout", 0o644, b'0', "", br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar_entry(&mut out, "index.json", 0o644, b'0', "", index.as_bytes());
    tar_entry(&mut out, "blobs", 0o755, b'5', "", &[]);
    tar_entry(&mut out, "blobs/sha256", 0o755, b'5', "", &[]);
    for blob in [manifest.as_bytes(), config.as_bytes(), &layer] {
        tar_entry(&mut out, &format!("blobs/sha256/{}", digest(blob)), 0o644, b'0', "", blob);
    }
    out.extend([0; 1024]);
    out
}

/// The name that OCI gives an architecture.
pub fn oci_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Appends a ustar header and the content padded to 512 bytes. Paths are short here (< 100 bytes).
fn tar_entry(out: &mut Vec<u8>, path: &str, mode: u32, kind: u8, link: &str, content: &[u8]) {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", content.len()).as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
    out.extend(content);
    out.extend(std::iter::repeat_n(0, content.len().next_multiple_of(512) - content.len()));
}

/// A static program that sleeps for ever and leaves no zombies: it ignores SIGCHLD, so that the kernel reaps what is
/// orphaned into the pod's pid namespace, and then waits for signals. It needs one page of memory.
pub fn pause_program(arch: &str) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const CODE_OFFSET: u64 = 64 + 56;
    let (machine, mut code): (u16, Vec<u8>) = match arch {
        "aarch64" => (183, pause_aarch64()),
        _ => (62, pause_x86_64(BASE + CODE_OFFSET)),
    };
    // struct sigaction: handler SIG_IGN, flags SA_NOCLDWAIT, no restorer, empty mask.
    for word in [1_u64, 2, 0, 0] {
        code.extend(word.to_le_bytes());
    }
    let size = CODE_OFFSET + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend(2_u16.to_le_bytes()); // executable
    elf.extend(machine.to_le_bytes());
    elf.extend(1_u32.to_le_bytes());
    elf.extend((BASE + CODE_OFFSET).to_le_bytes()); // entry
    elf.extend(64_u64.to_le_bytes()); // program headers
    elf.extend(0_u64.to_le_bytes()); // no section headers
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes()); // PT_LOAD
    elf.extend(5_u32.to_le_bytes()); // read, execute
    for word in [0, BASE, BASE, size, size, 0x1_0000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

fn pause_x86_64(entry: u64) -> Vec<u8> {
    const LENGTH: u64 = 36;
    let mut code = vec![0xb8, 13, 0, 0, 0]; // mov eax, rt_sigaction
    code.extend([0xbf, 17, 0, 0, 0]); // mov edi, SIGCHLD
    code.push(0xbe); // mov esi, the sigaction behind the code
    code.extend(u32::try_from(entry + LENGTH).unwrap_or(0).to_le_bytes());
    code.extend([0x31, 0xd2]); // xor edx, edx
    code.extend([0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 34, 0, 0, 0]); // again: mov eax, pause
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xeb, 0xf7]); // jmp again
    code.extend([0x90, 0x90]); // nop, for alignment
    debug_assert_eq!(code.len() as u64, LENGTH);
    code
}

fn pause_aarch64() -> Vec<u8> {
    [
        0xd280_0220_u32, // mov x0, SIGCHLD
        0x1000_01a1,     // adr x1, the sigaction behind the code
        0xd280_0002,     // mov x2, 0
        0xd280_0103,     // mov x3, 8
        0xd280_10c8,     // mov x8, rt_sigaction
        0xd400_0001,     // svc
        0xd280_0000,     // again: mov x0, 0
        0xd280_0001,     // mov x1, 0
        0xd280_0002,     // mov x2, 0
        0xd280_0003,     // mov x3, 0
        0xd280_0928,     // mov x8, ppoll
        0xd400_0001,     // svc
        0x17ff_fffa,     // b again
        0xd503_201f,     // nop, for alignment
    ]
    .iter()
    .flat_map(|word| word.to_le_bytes())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_lists_its_blobs() {
        let bytes = archive(&pause("registry.k8s.io/pause:3.9"));
        assert_eq!(bytes.len() % 512, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("io.containerd.image.name") && text.contains("registry.k8s.io/pause:3.9"));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_pause_program_runs_until_it_is_killed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        std::fs::write(&path, pause_program("x86_64")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
