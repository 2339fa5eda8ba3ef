// The remote: vCPUs and memory for a process whose home is elsewhere, and no right to act for it here.
#pragma once

#include <cstddef>

namespace hpcvmm::migrate {

class Link;

/// Turns this process into a remote.  Descriptors as hpcd leaves them: 3 its control socket, 4 /dev/kvm and 5
/// /dev/userfaultfd, where they could be opened.  Does not return: ends when hpcd closes the socket.
/// Threads: the only one.
/// `on_stack` leaves the present stack for good and calls start(arg).
using OnStack = void (*)(void* top, void (*start)(void*), void* arg);
/// `prepare_kvm`: makes the VM and a vCPU before it says that it is there, for the case that it becomes a
/// guest of that engine.
/// `serve_shared`: called, for good, when what has come is no guest but the order to serve shared memory
/// (vmm/share): with the channel and the first message.
using ServeShared = void (*)(Link& link, const std::byte* data, std::size_t bytes);
[[noreturn]] void remote_main(OnStack on_stack, bool prepare_kvm, ServeShared serve_shared);

}  // namespace hpcvmm::migrate
