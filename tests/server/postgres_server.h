// A real PostgreSQL for the tests of one program: a cluster of its own in a temporary folder, that
// listens on a socket there alone.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "server/store/postgres.h"

namespace quantd {

class PostgresServer {
 public:
  // The one of this program, started at the first call; null where PostgreSQL is not installed.
  static PostgresServer* Get() {
    static const std::unique_ptr<PostgresServer> server = Start();
    return server.get();
  }

  // Of a new, empty database.
  std::string NewDatabase() {
    static std::atomic<int> count = 0;
    const std::string name = absl::StrCat("test", ++count);
    auto connection = PostgresConnection::Open(UriOf("postgres"));
    EXPECT_TRUE(connection.ok()) << connection.status();
    EXPECT_TRUE((*connection)->Execute("CREATE DATABASE " + name).ok());
    return UriOf(name);
  }
  std::string UriOf(const std::string& database) const {
    return absl::StrCat("postgresql:///", database, "?user=tester&host=", folder_.path());
  }

  // As after a crash of the database server; clients find their connections gone.
  void Restart() {
    Run({Tool("pg_ctl"), "-D", folder_.path() + "/data", "-m", "immediate", "-w", "restart", "-l",
         folder_.path() + "/log", "-o", Options()});
  }

  ~PostgresServer() {
    Run({Tool("pg_ctl"), "-D", folder_.path() + "/data", "-m", "immediate", "-w", "stop"});
  }

 private:
  PostgresServer(std::string tools, TemporaryFolder folder)
      : tools_(std::move(tools)), folder_(std::move(folder)) {}

  static std::unique_ptr<PostgresServer> Start() {
    const std::string versions = "/usr/lib/postgresql";
    const auto found = ListFolder(versions);
    if (!found.ok() || found->empty()) return nullptr;
    std::unique_ptr<PostgresServer> server(new PostgresServer(
        absl::StrCat(versions, "/", found->back(), "/bin"), *TemporaryFolder::Create("postgres")));
    const std::string& folder = server->folder_.path();
    // It refuses to run as root.
    if (geteuid() == 0 && chown(folder.c_str(), kNobody, kNobody) != 0) return nullptr;
    const bool made = server->Run({server->Tool("initdb"), "-D", folder + "/data", "-U", "tester",
                                   "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"});
    const bool runs =
        made && server->Run({server->Tool("pg_ctl"), "-D", folder + "/data", "-w", "start", "-l",
                             folder + "/log", "-o", server->Options()});
    EXPECT_TRUE(runs) << "PostgreSQL does not start";
    return runs ? std::move(server) : nullptr;
  }

  std::string Options() const {
    return absl::StrCat("-c listen_addresses='' -c fsync=off -k ", folder_.path());
  }
  std::string Tool(const std::string& name) const { return absl::StrCat(tools_, "/", name); }

  // Whether the command ends well. As nobody, if we are root.
  bool Run(const std::vector<std::string>& command) const {
    const pid_t child = fork();
    if (child == 0) {
      if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(1);
      if (chdir("/") != 0) _exit(1);
      const int null = open("/dev/null", O_RDWR);
      for (const int stream : {0, 1, 2}) dup2(null, stream);
      std::vector<char*> arguments;
      for (const std::string& argument : command) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
      }
      arguments.push_back(nullptr);
      execv(arguments[0], arguments.data());
      _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  static constexpr uid_t kNobody = 65534;
  const std::string tools_;
  const TemporaryFolder folder_;
};

}  // namespace quantd
