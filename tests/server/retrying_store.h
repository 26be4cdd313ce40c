// A store that runs every piece of work twice: once for a transaction that is rolled back, as a
// database may do with one that met another, and once for the one that counts.
#pragma once

#include <memory>
#include <utility>

#include "base/error.h"
#include "server/store/store.h"

namespace quantd {

class RetryingStore final : public Store {
 public:
  explicit RetryingStore(std::unique_ptr<Store> inner) : inner_(std::move(inner)) {}

  absl::Status Read(const std::function<absl::Status(StoreReader&)>& work) override {
    inner_->Read(work).IgnoreError();
    return inner_->Read(work);
  }
  absl::Status Write(const std::function<absl::Status(StoreTransaction&)>& work) override {
    inner_
        ->Write([&](StoreTransaction& store) -> absl::Status {
          work(store).IgnoreError();
          return MakeError(Reason::kIo, "rolled back: it met another transaction");
        })
        .IgnoreError();
    return inner_->Write(work);
  }
  void Announce(const std::vector<std::string>& topics) override { inner_->Announce(topics); }
  void Listen(std::function<void(std::string_view)> heard) override {
    inner_->Listen(std::move(heard));
  }
  void StopListening() override { inner_->StopListening(); }

 private:
  const std::unique_ptr<Store> inner_;
};

}  // namespace quantd
