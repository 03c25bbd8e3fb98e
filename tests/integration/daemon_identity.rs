//! As whom, where and with which environment the processes of a group run.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, getsid};
use rstest::rstest;
use testkit::{Mark, Process, Request, Site, ours, wait_until};

use crate::apps::{ENVIRON, environ};
use crate::daemon_site::{SELF, as_root, is_root, told, with_options};

#[test]
fn user_groups_umask_and_directory() {
    if !as_root() {
        return;
    }
    let server = with_options(
        "user=nobody group=nogroup supplementary-groups=www-data,#4 umask=0027 home=/usr/share",
    );
    let own = environ(&server.get("/"));
    let nobody = User::from_name("nobody").ok().flatten();
    let nobody = nobody.expect("a user that every system has");
    let group = |name: &str| {
        let group = nix::unistd::Group::from_name(name).ok().flatten();
        group.expect("a group that every Debian has").gid
    };
    let nogroup = group("nogroup");
    let mut groups = [4, nogroup.as_raw(), group("www-data").as_raw()];
    groups.sort_unstable();
    assert_eq!(own.value("uid"), nobody.uid.to_string());
    assert_eq!(own.value("gid"), nogroup.to_string());
    assert_eq!(own.value("groups"), format!("{groups:?}"));
    assert_eq!(own.value("HOME"), nobody.dir.display().to_string());
    assert_eq!(own.value("umask"), "0o27");
    assert_eq!(own.value("cwd"), "/usr/share");
    assert_eq!(own.value("path"), "/usr/share");
}

/// `HOME` is always the user's; the others are what they should be if they are there at all.
#[test]
fn the_environment_names_the_user() {
    const NAMES: &str = "
import os, pwd

def application(environ, start_response):
    names = ['HOME', 'USER', 'USERNAME', 'LOGNAME']
    found = [os.environ.get(name) for name in names]
    user = pwd.getpwuid(os.geteuid())
    start_response('200 OK', [])
    return [repr([{user.pw_name: 'name', user.pw_dir: 'home'}.get(text, text)
                  for text in found]).encode()]
";
    for (set, in_group, in_httpd) in [
        (
            &[][..],
            "['home', None, None, None]",
            "[None, None, None, None]",
        ),
        (
            &[("USER", "somebody"), ("LOGNAME", "else"), ("HOME", "/x")],
            "['home', 'name', None, 'name']",
            "['/x', 'somebody', None, 'else']",
        ),
        (
            &[("USERNAME", "somebody")],
            "['home', None, 'name', None]",
            "[None, None, 'somebody', None]",
        ),
    ] {
        let site = Site::new().script("names.wsgi", NAMES).config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess own
             WSGIScriptAlias /group ${WSGI}/names.wsgi process-group=own
             WSGIScriptAlias /httpd ${WSGI}/names.wsgi",
        );
        let site = set
            .iter()
            .fold(site, |site, (name, value)| site.env(name, value));
        let server = site.start();
        assert_eq!(server.get("/group").text(), in_group, "{set:?}");
        assert_eq!(server.get("/httpd").text(), in_httpd, "{set:?}");
    }
}

#[test]
fn another_user_is_at_home_and_in_its_groups() {
    if !as_root() {
        return;
    }
    let user = User::from_name("bin").ok().flatten();
    let user = user.expect("a user that every Debian has");
    let own = told("user=bin");
    assert_eq!(own.value("uid"), user.uid.to_string());
    let home = std::fs::canonicalize(&user.dir).expect("its home");
    let cwd = std::fs::canonicalize(own.value("cwd")).expect("a directory");
    assert_eq!(cwd, home);
    assert_ne!(Path::new(own.value("path")), home, "it is no home= option");
    // The group is httpd's as long as no other is given.
    let www = nix::unistd::Group::from_name("www-data").ok().flatten();
    assert_eq!(own.value("gid"), www.expect("httpd's").gid.to_string());
}

/// Also those that take the place of others.
#[test]
fn groups_of_several_users_are_side_by_side() {
    const WHO: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    ids = [os.getpid(), *os.getresuid(), *os.getresgid(), *os.getgroups()]
    return [' '.join(map(str, ids)).encode()]
";
    if !as_root() {
        return;
    }
    let server = Site::new()
        .script("who.wsgi", WHO)
        .config(
            "WSGIDaemonProcess first user=nobody group=nogroup home=/
             WSGIDaemonProcess second user=bin group=bin home=/
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /nobody ${WSGI}/who.wsgi process-group=first
             WSGIScriptAlias /bin ${WSGI}/who.wsgi process-group=second",
        )
        .start();
    // How httpd reports what mod_wsgi's processes die of, and how we do.
    server.log().expect_alarm("exit signal Killed");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    let who = |name: &str| {
        let ids = server.get(&format!("/{name}")).text();
        let ids: Vec<u32> = ids.split(' ').map(|id| id.parse().expect("ids")).collect();
        let user = User::from_name(name).ok().flatten().expect("a user");
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        assert_eq!(ids[1..], [uid, uid, uid, gid, gid, gid, gid], "{name}");
        let process = Process {
            pid: ids[0].try_into().expect("a process id"),
        };
        assert_eq!(process.user(), uid, "{name}");
        process
    };
    let (first, second) = (who("nobody"), who("bin"));
    kill(Pid::from_raw(first.pid), Signal::SIGKILL).expect("it runs");
    wait_until("another process", || {
        (server.get("/nobody").status == 200).then_some(())
    });
    assert_ne!(who("nobody"), first);
    assert_eq!(who("bin"), second);
}

#[test]
fn a_user_may_be_a_number_without_a_name() {
    if !ours("D151") || !as_root() {
        return;
    }
    let own = told("user=#77777 group=#77778");
    assert_eq!(own.value("uid"), "77777");
    assert_eq!(own.value("gid"), "77778");
    assert_eq!(own.value("groups"), "[77778]");
}

/// The kernel and the C library take that one for "leave it as it is".
#[test]
fn nobody_is_the_number_that_stands_for_none() {
    if !ours("D224") {
        return;
    }
    for option in [
        "user",
        "group",
        "supplementary-groups",
        "socket-user",
        "script-user",
        "script-group",
    ] {
        let line = format!("WSGIDaemonProcess own {option}=#4294967295");
        let answer = Site::new().config(&line).configtest();
        assert!(!answer.success, "{option}");
        for part in [option, "has that number", "leave it as it is"] {
            assert!(answer.text.contains(part), "{option}: {}", answer.text);
        }
    }
}

/// The kernel shares CPU time out to sessions.
#[test]
fn the_session_is_that_of_httpd() {
    const SESSION: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'%d' % os.getsid(0)]
";
    let server = Site::new()
        .script("session.wsgi", SESSION)
        .config(
            "WSGIDaemonProcess own
             WSGIScriptAlias / ${WSGI}/session.wsgi process-group=own",
        )
        .start();
    let httpd = Some(Pid::from_raw(server.process().pid));
    assert_eq!(server.get("/").text(), getsid(httpd).unwrap().to_string());
}

#[test]
fn language_and_name() {
    let own = told("lang=C.UTF-8 locale=C.UTF-8 display-name=%{GROUP}");
    assert_eq!(own.value("LANG"), "C.UTF-8");
    assert_eq!(own.value("LC_ALL"), "C.UTF-8");
    assert_eq!(own.value("locale"), "C.UTF-8");
    assert_eq!(own.value("shown"), "(wsgi:own)");
    // mod_wsgi has only as much room as httpd's own name took.
    assert_eq!(told("display-name=wsgi").value("shown"), "wsgi");
}

/// That is a value, too: it hides what the environment of httpd says.
#[test]
fn what_is_empty_is_set_to_nothing() {
    let server = Site::new()
        .script("self.wsgi", SELF)
        .env("LANG", "C.UTF-8")
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHON_EGG_CACHE", "/var/cache/eggs")
        .config(
            "WSGIDaemonProcess plain
             WSGIDaemonProcess empty lang='' locale='' python-eggs=''
             WSGIScriptAlias /plain ${WSGI}/self.wsgi process-group=plain
             WSGIScriptAlias /empty ${WSGI}/self.wsgi process-group=empty",
        )
        .start();
    let plain = environ(&server.get("/plain"));
    let empty = environ(&server.get("/empty"));
    for (name, inherited) in [
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("eggs", "/var/cache/eggs"),
    ] {
        assert_eq!(plain.value(name), inherited, "{name}");
        assert_eq!(empty.value(name), "", "{name}");
    }
}

#[test]
fn a_locale_that_the_system_lacks_is_told_of() {
    let server = with_options("locale=xx_XX.NONE");
    server.get("/");
    let line = server.log().wait_for(Mark::START, "WSGI0079");
    for part in [":warn]", "xx_XX.NONE", "process group 'own'"] {
        assert!(line.contains(part), "{line}");
    }
}

/// Makes a root directory with a Python in it, below the site's own.
fn jail(site: &Site) {
    let lib = site.path("jail/usr/lib");
    std::fs::create_dir_all(&lib).expect("a directory");
    let python = Command::new("/usr/bin/python3")
        .args(["-c", "import os; print(os.path.dirname(os.__file__))"])
        .output()
        .expect("python3");
    let library = String::from_utf8_lossy(&python.stdout).trim().to_owned();
    copy(Path::new(&library), &lib);
    let bin = site.path("jail/usr/bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    std::fs::copy("/usr/bin/python3", bin.join("python3")).expect("a program");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp").success(), "cp {from:?} {to:?}");
}

#[test]
fn below_another_root_paths_are_as_they_are_there() {
    if !as_root() {
        return;
    }
    let site = Site::new()
        .module("mime")
        .file("mime.types", "")
        .file("jail/srv/a.wsgi", ENVIRON)
        .file("jail/srv/handler.py", HANDLER)
        .file("jail/srv/www/page.own", "a resource")
        .script("outside.wsgi", ENVIRON);
    jail(&site);
    let server = site
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess jailed chroot=${ROOT}/jail
             WSGIDaemonProcess at-home chroot=${ROOT}/jail home=/srv
             <VirtualHost *:*>
                 ServerName localhost
             </VirtualHost>
             <Directory ${ROOT}/jail>
                 Require all granted
             </Directory>
             WSGIProcessGroup jailed
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /in ${ROOT}/jail/srv/a.wsgi
             WSGIScriptAlias /home ${ROOT}/jail/srv/a.wsgi process-group=at-home
             WSGIHandlerScript own ${ROOT}/jail/srv/handler.py
             AddHandler own .own
             <VirtualHost *:*>
                 ServerName inside
                 DocumentRoot ${ROOT}/jail/srv/www
             </VirtualHost>
             WSGIScriptAlias /out ${WSGI}/outside.wsgi",
        )
        .start();
    let own = environ(&server.get("/in"));
    assert_eq!(own.value("SCRIPT_FILENAME"), "/srv/a.wsgi");
    assert!(!own.has("DOCUMENT_ROOT"), "it lies outside");
    assert_eq!(server.get("/out").head.status, 502);
    server.log().wait_for(Mark::START, "WSGI0081");

    let inside = |target: &str| server.send(&Request::get(target).header("Host", "inside"));
    assert_eq!(environ(&inside("/in")).value("DOCUMENT_ROOT"), "/srv/www");
    assert_eq!(inside("/home").head.status, 200);
    if ours("D176") {
        assert_eq!(
            inside("/page.own").text(),
            "/srv/www/page.own /srv/handler.py /"
        );
    }
}

/// Whoever may write there would put its processes into any group.
#[test]
fn below_another_root_groups_are_those_of_httpd() {
    const GROUPS: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getgroups()).encode()]
";
    if !ours("D232") || !as_root() {
        return;
    }
    let site = Site::new()
        .script("groups.wsgi", GROUPS)
        .file("jail/srv/groups.wsgi", GROUPS)
        .file("jail/etc/group", "liars:x:4242:bin\n");
    jail(&site);
    let server = site
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess outside user=bin
             WSGIDaemonProcess jailed user=bin chroot=${ROOT}/jail
             <Directory ${ROOT}/jail>
                 Require all granted
             </Directory>
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /outside ${WSGI}/groups.wsgi process-group=outside
             WSGIScriptAlias /jailed ${ROOT}/jail/srv/groups.wsgi process-group=jailed",
        )
        .start();
    assert_eq!(server.get("/jailed").text(), server.get("/outside").text());
}

/// Names what it knows of where it is.
const HANDLER: &str = r"
import os

def handle_request(environ, start_response):
    start_response('200 OK', [])
    names = ['SCRIPT_FILENAME', 'mod_wsgi.handler_script']
    return [' '.join([environ[name] for name in names] + [os.getcwd()]).encode()]
";

/// What has no directory of its own, and no other user, is where httpd is.
#[test]
fn otherwise_processes_are_where_httpd_is() {
    let server = with_options("");
    let httpd = std::fs::read_link(format!("/proc/{}/cwd", server.process().pid));
    let own = environ(&server.get("/"));
    assert_eq!(Path::new(own.value("cwd")), httpd.expect("a directory"));
}

#[rstest]
#[case::by_default("", "NoNewPrivs:\t1\n")]
#[case::as_configured("no-new-privileges=Off", "NoNewPrivs:\t0\n")]
fn what_an_application_starts_gains_no_privileges(#[case] option: &str, #[case] expected: &str) {
    const STATUS: &str = "
import subprocess

def application(environ, start_response):
    start_response('200 OK', [])
    return [subprocess.run(['grep', 'NoNewPrivs', '/proc/self/status'], stdout=-1).stdout]
";
    if !ours("D127") {
        return;
    }
    let server = Site::new()
        .script("status.wsgi", STATUS)
        .config(&format!(
            "WSGIDaemonProcess own {option}
             WSGIScriptAlias / ${{WSGI}}/status.wsgi process-group=own",
        ))
        .start();
    assert_eq!(server.get("/").text(), expected);
}

/// A process has one group of its own, which the limit of the system is for as well.
#[test]
fn supplementary_groups_are_no_more_than_the_system_allows() {
    let most = std::fs::read_to_string("/proc/sys/kernel/ngroups_max").expect("the limit");
    let most: usize = most.trim().parse().expect("a number");
    let many = |count: usize| vec!["#4"; count].join(",");
    for (groups, refusal) in [
        (many(most - 1), ""),
        (many(most), "oo many supplementary groups"),
        (
            format!("{},none-of-this-name", many(3)),
            "none-of-this-name",
        ),
        (
            format!("none-of-this-name,{}", many(most)),
            "none-of-this-name",
        ),
        // A number needs no name.
        ("#99999".to_owned(), ""),
    ] {
        let line = format!("WSGIDaemonProcess one supplementary-groups={groups}");
        let answer = Site::new().config(&line).configtest();
        assert_eq!(answer.success, refusal.is_empty(), "{}", answer.text);
        assert!(answer.text.contains(refusal), "{}", answer.text);
    }
}

/// As the kernel has it: 0 where the process leaves no core and is closed to its own user, as one
/// is that has changed its user.
#[test]
fn who_leaves_a_core_is_as_with_httpd() {
    const DUMPABLE: &str = "
import ctypes

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'%d' % ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)]
";
    for (directive, in_httpd, in_group) in [
        ("", ["0", "1"], ["0", "1"]),
        // It is about httpd's own processes.
        ("CoreDumpDirectory ${DATA}", ["1", "1"], ["0", "1"]),
    ] {
        let server = Site::new()
            .script("dumpable.wsgi", DUMPABLE)
            .config(&format!(
                "{directive}
                 WSGISocketPrefix ${{ROOT}}/logs/wsgi
                 WSGIDaemonProcess plain
                 WSGIDaemonProcess other user=bin
                 WSGIScriptAlias /plain ${{WSGI}}/dumpable.wsgi process-group=plain
                 WSGIScriptAlias /other ${{WSGI}}/dumpable.wsgi process-group=other
                 WSGIScriptAlias /httpd ${{WSGI}}/dumpable.wsgi"
            ))
            .start();
        let user = usize::from(!is_root());
        assert_eq!(server.get("/httpd").text(), in_httpd[user], "{directive}");
        for group in ["/plain", "/other"] {
            assert_eq!(server.get(group).text(), in_group[user], "{directive}");
        }
    }
}
