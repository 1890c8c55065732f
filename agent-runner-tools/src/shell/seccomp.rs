//! System calls that programs do without.
//!
//! A list of what is refused, and no list of what is allowed: programs of all kinds have to work,
//! and Landlock and the limits hold whatever they call. Refused is what reaches around those: other
//! processes' memory, mounts and namespaces, parts of the kernel that are known for their defects,
//! and sockets.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, sock_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Compiled = Result<BpfProgram, seccompiler::BackendError>;

/// Never works, whatever the arguments: `EPERM`.
const FORBIDDEN: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// As if the kernel did not have them, for which programs are prepared: `ENOSYS`. The arguments
/// of `clone3` cannot be looked at, and `io_uring` works past every filter.
const UNKNOWN: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
];

/// Flags of `clone` that make namespaces.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// The families of sockets that are the network, and what is needed to find an address.
const NETWORK: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// What types into a terminal in somebody else's name: `TIOCSTI` and `TIOCLINUX`, which have
/// another type with every C library.
const TYPING: [u64; 2] = [0x5412, 0x541c];
/// Bits of a socket's type that say what it is.
const TYPE_MASK: u64 = 0xf;
/// Numbers from here on are calls of another convention (x32), which no rule knows.
const OTHER_CONVENTION: u32 = 0x4000_0000;

/// Refuses the calls from now on, in this thread and all that it starts.
pub(super) fn apply(network: bool) -> Result<(), seccompiler::Error> {
    for filter in [forbidden()?, unknown()?, sockets(network)?, other_convention()] {
        apply_filter(&filter)?;
    }
    Ok(())
}

fn number(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

fn compile(rules: Rules, errno: i32) -> Compiled {
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn forbidden() -> Compiled {
    let mut rules: Rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let mut clone = Vec::new();
    for flag in NAMESPACES.iter().map(|flag| number(*flag)) {
        clone.push(SeccompRule::new(vec![condition(0, SeccompCmpOp::MaskedEq(flag), flag)?])?);
    }
    rules.insert(libc::SYS_clone, clone);
    let mut ioctl = Vec::new();
    for request in TYPING {
        ioctl.push(SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, ioctl);
    compile(rules, libc::EPERM)
}

fn unknown() -> Compiled {
    compile(UNKNOWN.iter().map(|call| (*call, Vec::new())).collect(), libc::ENOSYS)
}

/// No sockets, or those of the network. Sockets of this machine (`AF_UNIX`) lead to other services
/// of it in both cases; a connected pair does not, unless it can be connected again.
fn sockets(network: bool) -> Compiled {
    let mut families = Vec::new();
    if network {
        let others = NETWORK.map(|family| condition(0, SeccompCmpOp::Ne, number(family)));
        families.push(SeccompRule::new(others.into_iter().collect::<Result<_, _>>()?)?);
    }
    let datagram = SeccompCmpOp::MaskedEq(TYPE_MASK);
    let again = SeccompRule::new(vec![condition(1, datagram, number(libc::SOCK_DGRAM))?])?;
    let rules = [(libc::SYS_socket, families), (libc::SYS_socketpair, vec![again])];
    compile(rules.into_iter().collect(), libc::EACCES)
}

fn other_convention() -> BpfProgram {
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    vec![
        // The number of the call is the first thing that a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, OTHER_CONVENTION),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, errno),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_compiles() {
        for filter in [forbidden(), unknown(), sockets(false), sockets(true)] {
            assert!(filter.unwrap().len() < 1_024);
        }
        assert!(other_convention().iter().all(|instruction| instruction.code != u16::MAX));
    }
}
