// A network of the tests' own. Every node lives in a network namespace, whose only way out is a TUN
// device; a thread of the tests carries the packets from one device to the other, and delays or
// drops them as it is told: each direction by itself, so that links can fail one way. It needs
// neither netem nor a packet filter, which not every kernel has, nor the name of a namespace: all
// of it is gone with the process. Root, or a kernel that lets users have namespaces, will do.
#pragma once

#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <random>

#include "processes.hpp"

namespace kv_tests {

inline void write_file(const std::string& path, const std::string& text) {
    int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : ::write(fd, text.data(), text.size());
    if (fd >= 0) close(fd);
    if (written != static_cast<ssize_t>(text.size())) fail_errno("write " + path);
}

/// Gives this process a user, network and mount namespace of its own, in which it is root. To be
/// called before any thread is started.
inline void enter_own_namespaces() {
    uid_t user = geteuid();
    gid_t group = getegid();
    int user_too = user == 0 ? 0 : CLONE_NEWUSER;
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | user_too) != 0) {
        throw Skip("needs root or namespaces of users: unshare says " +
                   std::string(strerror(errno)));
    }
    if (user != 0) {
        write_file("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
        write_file("/proc/self/setgroups", "deny");
        write_file("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
    }
    // What is mounted here is not seen elsewhere.
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail_errno("mount /");
}

/// How a link treats packets in one direction.
struct Link {
    bool cut = false;
    Milliseconds delay_min{0}, delay_max{0};  ///< Drawn for each packet, which may so overtake.
    double loss = 0;                          ///< The share of packets that is lost.
};

class Wire {
 public:
    /// Node 0 is the process itself, which must have entered namespaces of its own; the others are
    /// numbered from 1.
    Wire(std::size_t nodes, std::uint64_t seed) : links_((nodes + 1) * (nodes + 1)), random_(seed) {
        int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (home < 0) fail_errno("/proc/self/ns/net");
        for (std::size_t node = 0; node <= nodes; ++node) {
            if (node > 0 && unshare(CLONE_NEWNET) != 0) fail_errno("unshare");
            namespaces_.push_back(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
            devices_.push_back(open_device(address(node)));
        }
        if (setns(home, CLONE_NEWNET) != 0) fail_errno("setns");
        close(home);
        carrier_ = std::thread([this] { carry(); });
    }
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;
    ~Wire() {
        stop_ = true;
        carrier_.join();
        for (int fd : devices_) close(fd);
        for (int fd : namespaces_) close(fd);
    }

    std::string address(std::size_t node) const { return "10.77.0." + std::to_string(node + 1); }
    int network(std::size_t node) const { return namespaces_[node]; }

    void set(std::size_t from, std::size_t to, const Link& link) {
        std::lock_guard lock(mutex_);
        links_[from * devices_.size() + to] = link;
    }
    void heal() {
        std::lock_guard lock(mutex_);
        std::fill(links_.begin(), links_.end(), Link{});
    }
    std::uint64_t carried() const { return carried_; }
    std::uint64_t dropped() const { return dropped_; }

 private:
    static void configure(int control, unsigned long request, ifreq& interface, const char* what) {
        if (ioctl(control, request, &interface) != 0) fail_errno(what);
    }

    static void bring_up(int control, const char* name) {
        ifreq interface {};
        std::strncpy(interface.ifr_name, name, IFNAMSIZ - 1);
        configure(control, SIOCGIFFLAGS, interface, "SIOCGIFFLAGS");
        interface.ifr_flags = static_cast<short>(interface.ifr_flags | IFF_UP | IFF_RUNNING);
        configure(control, SIOCSIFFLAGS, interface, "SIOCSIFFLAGS");
    }

    /// In the namespace that the thread is in.
    static int open_device(const std::string& address) {
        int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (device < 0) throw Skip("needs /dev/net/tun: " + std::string(strerror(errno)));
        ifreq interface {};
        std::strncpy(interface.ifr_name, "kv0", IFNAMSIZ - 1);
        interface.ifr_flags = IFF_TUN | IFF_NO_PI;
        configure(device, TUNSETIFF, interface, "TUNSETIFF");
        int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        set_address(control, SIOCSIFADDR, address);
        set_address(control, SIOCSIFNETMASK, "255.255.255.0");
        bring_up(control, "kv0");
        bring_up(control, "lo");
        close(control);
        return device;
    }

    static void set_address(int control, unsigned long request, const std::string& text) {
        ifreq interface {};
        std::strncpy(interface.ifr_name, "kv0", IFNAMSIZ - 1);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        inet_pton(AF_INET, text.c_str(), &address.sin_addr);
        std::memcpy(&interface.ifr_addr, &address, sizeof address);
        configure(control, request, interface, "setting an address");
    }

    struct Packet {
        std::size_t to;
        std::string bytes;
    };

    void carry() {
        std::multimap<Clock::time_point, Packet> waiting;
        std::vector<pollfd> ready;
        for (int fd : devices_) ready.push_back({fd, POLLIN, 0});
        while (!stop_) {
            ::poll(ready.data(), ready.size(), waiting.empty() ? 20 : 1);
            for (std::size_t from = 0; from < devices_.size(); ++from) {
                if ((ready[from].revents & POLLIN) != 0) take_from(from, waiting);
            }
            while (!waiting.empty() && waiting.begin()->first <= Clock::now()) {
                const Packet& packet = waiting.begin()->second;
                ++(::write(devices_[packet.to], packet.bytes.data(), packet.bytes.size()) < 0
                       ? dropped_
                       : carried_);
                waiting.erase(waiting.begin());
            }
        }
    }

    void take_from(std::size_t from, std::multimap<Clock::time_point, Packet>& waiting) {
        std::array<char, 65'536> bytes;
        for (;;) {
            ssize_t size = ::read(devices_[from], bytes.data(), bytes.size());
            if (size <= 0) return;
            constexpr ssize_t ipv4_header_size = 20, destination_last_byte = 19;
            bool is_ipv4 = size >= ipv4_header_size && (bytes[0] & 0xf0) == 0x40;
            std::size_t to = is_ipv4 ? static_cast<unsigned char>(bytes[destination_last_byte]) : 0;
            if (to == 0 || to > devices_.size()) continue;
            Packet packet{to - 1, std::string(bytes.data(), static_cast<std::size_t>(size))};
            if (std::optional<Milliseconds> delay = delay_of(from, packet.to)) {
                waiting.emplace(Clock::now() + *delay, std::move(packet));
            } else {
                ++dropped_;
            }
        }
    }

    /// Nothing: the packet is lost.
    std::optional<Milliseconds> delay_of(std::size_t from, std::size_t to) {
        std::lock_guard lock(mutex_);
        const Link& link = links_[from * devices_.size() + to];
        if (link.cut || std::uniform_real_distribution<>(0, 1)(random_) < link.loss) {
            return std::nullopt;
        }
        std::uniform_int_distribution<long> delay(link.delay_min.count(), link.delay_max.count());
        return Milliseconds(delay(random_));
    }

    std::vector<int> namespaces_, devices_;
    std::mutex mutex_;
    std::vector<Link> links_;  // From one node to another, guarded by the mutex.
    std::mt19937_64 random_;   // Guarded by the mutex.
    std::atomic<std::uint64_t> carried_ = 0, dropped_ = 0;
    std::atomic<bool> stop_ = false;
    std::thread carrier_;
};

}  // namespace kv_tests
