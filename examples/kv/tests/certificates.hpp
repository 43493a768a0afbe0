// Certificates for replicas that know each other by TLS.
#pragma once

#include <doctest/doctest.h>

#include "processes.hpp"

namespace kv_tests {

/// An authority whose certificates live as long as the test.
class Authority {
 public:
    Authority() {
        openssl({"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                 "/CN=authority", "-keyout", path("ca.key"), "-out", path("ca.pem")});
    }

    /// The server's options for a replica with a certificate of this authority, one of its own for
    /// each name. It believes those of this authority, or of another.
    std::vector<std::string> certify(const std::string& name = "replica",
                                     const Authority* believed = nullptr) {
        openssl({"req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout",
                 path(name + ".key"), "-out", path("request")});
        openssl({"x509", "-req", "-in", path("request"), "-CA", path("ca.pem"), "-CAkey",
                 path("ca.key"), "-CAcreateserial", "-days", "2", "-out", path(name + ".pem")});
        return {"--tls-ca",   (believed ? believed : this)->path("ca.pem"),
                "--tls-cert", path(name + ".pem"),
                "--tls-key",  path(name + ".key")};
    }

 private:
    std::string path(const std::string& name) const { return (directory_.path() / name).string(); }

    static void openssl(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "openssl");
        Ran ran = run_command(arguments);
        REQUIRE_MESSAGE(ran.code == 0, ran.output);
    }

    TemporaryDirectory directory_;
};

}  // namespace kv_tests
