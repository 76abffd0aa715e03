"""The profile ``default``: an allow-list in groups by purpose.

What no group names does not exist for the container (ENOSYS, so that programs fall back as on an older kernel);
what is known and dangerous is forbidden (EPERM) unless the container holds the capability that guards it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from multios_security_seccomp.kernel_version import at_least

_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: what clone(2) can make."""
_NEW_TIME_NAMESPACE = 0x80
_FIRST_UNSAFE_FAMILY = 38
"""AF_ALG (kernel crypto), then AF_VSOCK (the hypervisor) and later ones: attack surface, hardly ever needed."""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux and its uname26 and 32-bit variants, and the query; others switch off address randomisation."""

_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
}

ORDINARY = {
    "files": """
        access chdir chmod chown close close_range creat dup dup2 dup3 faccessat faccessat2 fallocate fadvise64
        fadvise64_64 fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fcntl64 fdatasync flock fstat fstat64
        fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 lchown link
        linkat llseek _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat
        oldfstat oldlstat oldstat open openat openat2 readahead readlink readlinkat rename renameat renameat2
        rmdir stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs
        truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes statmount listmount
        arm_fadvise64_64 arm_sync_file_range cachestat file_getattr file_setattr""",
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
        lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat""",
    "reading and writing": """
        copy_file_range ioctl pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv sendfile
        sendfile64 splice tee vmsplice write writev io_cancel io_destroy io_getevents io_pgetevents
        io_pgetevents_time64 io_setup io_submit""",
    "waiting for events": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
        eventfd eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch fanotify_mark poll ppoll
        ppoll_time64 pselect6 pselect6_time64 _newselect select signalfd signalfd4""",
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
        process_madvise process_mrelease remap_file_pages""",
    "processes": """
        alarm arch_prctl capget capset execve execveat exit exit_group fork getpgid getpgrp getpid getppid
        getpriority getrlimit getrusage getsid getitimer kill pause pidfd_getfd pidfd_open pidfd_send_signal
        prctl prlimit64 restart_syscall seccomp set_thread_area get_thread_area set_tid_address setitimer setpgid
        setpriority setrlimit setsid tgkill times tkill ugetrlimit vfork wait4 waitid waitpid
        landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules""",
    "threads and scheduling": """
        futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list getcpu gettid
        ioprio_get ioprio_set nice rseq sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield set_robust_list""",
    "identity": """
        getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid
        getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
        setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid
        setuid32 chown32 fchown32 lchown32""",
    "signals": """
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending sigprocmask sigreturn
        sigsuspend""",
    "time": """
        clock_adjtime clock_adjtime64 adjtimex clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 gettimeofday nanosleep time timer_create timer_delete
        timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
        timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64""",
    "networking": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair""",
    "interprocess communication": """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
        mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
        semtimedop_time64 shmat shmctl shmdt shmget""",
    "the system": """
        getrandom sysinfo uname olduname oldolduname set_mempolicy_home_node""",
    "machines": """
        breakpoint cacheflush set_tls get_tls arm_sync_file_range riscv_flush_icache riscv_hwprobe modify_ldt
        swapcontext rtas sync_file_range2 uretprobe""",
}

GUARDED = {
    "CAP_SYS_ADMIN": """
        bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
        open_tree open_tree_attr perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname
        setns umount umount2 unshare clone""",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_BOOT": "reboot kexec_load kexec_file_load",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module create_module query_module",
    "CAP_SYS_NICE": "get_mempolicy mbind migrate_pages move_pages set_mempolicy",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

FORBIDDEN = {
    "not bound to the container": "add_key keyctl request_key swapoff swapon nfsservctl ustat sysfs _sysctl",
    "too often a way out": "io_uring_enter io_uring_register io_uring_setup userfaultfd",
}


WITHHELD = """
    ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp name_to_handle_at modify_ldt
    memfd_secret remap_file_pages mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node
    uretprobe statmount listmount"""
"""What the profile ``strict`` forbids as well: looking into other processes, and rare ways into the kernel."""


def section(capabilities: frozenset[str], machine: str, release: str, withheld: str = "") -> dict[str, Any]:
    """The OCI spec's ``linux.seccomp`` for a container that may hold ``capabilities``; ``withheld`` are forbidden anyhow."""
    allowed = _words(ORDINARY.values())
    allowed |= _words(names for capability, names in GUARDED.items() if capability in capabilities)
    if at_least(release, "4.8"):  # before, a tracer could slip past the filter
        allowed |= _words(["ptrace process_vm_readv process_vm_writev"])
    allowed -= _words([withheld])
    refused = _words([*GUARDED.values(), *FORBIDDEN.values(), withheld]) - allowed
    refused -= {"clone", "clone3", "unshare"}
    rules: list[dict[str, Any]] = [
        {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
        {"names": sorted(refused), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
        *_sockets(),
        _compared("personality", [(0, "SCMP_CMP_EQ", value, 0) for value in _PERSONALITIES]),
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules += _no_new_namespaces()
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": _ARCHITECTURES.get(machine, []),
        "syscalls": rules,
    }


def guardians(call: str) -> tuple[str, ...]:
    """The capabilities that allow a guarded call; CAP_SYS_ADMIN, which is nearly all of them, last."""
    found = [capability for capability, names in GUARDED.items() if call in names.split()]
    return tuple(sorted(found, key=lambda capability: capability == "CAP_SYS_ADMIN"))


def _no_new_namespaces() -> list[dict[str, Any]]:
    """clone(2) and unshare(2) only without namespaces; the flags of clone3(2) lie in memory that no filter sees."""
    rules: list[dict[str, Any]] = []
    for name, mask in (("clone", _NEW_NAMESPACES), ("unshare", _NEW_NAMESPACES | _NEW_TIME_NAMESPACE)):
        rules.append(_compared(name, [(0, "SCMP_CMP_MASKED_EQ", mask, 0)]))
        for bit in (1 << number for number in range(32) if mask >> number & 1):
            rules.append(_compared(name, [(0, "SCMP_CMP_MASKED_EQ", bit, bit)], _EPERM))
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return rules


def _sockets() -> list[dict[str, Any]]:
    return [
        _compared("socket", [(0, "SCMP_CMP_LT", _FIRST_UNSAFE_FAMILY, 0)]),
        _compared("socket", [(0, "SCMP_CMP_GE", _FIRST_UNSAFE_FAMILY, 0)], _EAFNOSUPPORT),
    ]


def _compared(name: str, comparisons: list[tuple[int, str, int, int]], error: int = 0) -> dict[str, Any]:
    arguments = [
        {"index": index, "op": operator, "value": value, "valueTwo": second}
        for index, operator, value, second in comparisons
    ]
    rule: dict[str, Any] = {"names": [name], "action": "SCMP_ACT_ALLOW", "args": arguments}
    return rule | {"action": "SCMP_ACT_ERRNO", "errnoRet": error} if error else rule


def _words(groups: Iterable[str]) -> set[str]:
    return {name for group in groups for name in group.split()}
