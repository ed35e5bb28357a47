// Profile: where the time of a step goes, per op and layer.
//
// A graph that was given one (Graph::set_profile) adds the wall-clock time of every node's forward
// and backward; who drives the step adds what happens outside the graph with a Scope of its own.
// The clock is read twice per node and pass (some 50 ns); without a profile it is never read. Rows
// keep the order in which they first appeared, so that they read like the tape; once all are known
// nothing is asked of the heap. Names are not copied: they must outlive the profile.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "autograd/base/clock.h"

namespace notch {

class Profile {
 public:
  enum class Pass : std::uint8_t { forward, backward, optimizer };
  struct Row {
    std::string_view op{};
    std::string_view label{};                         ///< the layer that recorded the node
    double forward = 0, backward = 0, optimizer = 0;  ///< seconds since clear()
  };
  /// Of seconds that never go back.
  using Clock = double (*)();
  explicit Profile(Clock now = seconds_now) : now_(now) {}

  const std::vector<Row>& rows() const { return rows_; }
  /// Whole steps since clear(), and the seconds they took.
  std::int64_t steps() const { return steps_; }
  double seconds() const { return seconds_; }

  /// Zeroes the times and keeps the rows.
  void clear() {
    for (Row& row : rows_) row = {row.op, row.label};
    steps_ = 0;
    seconds_ = 0;
  }

  void add_step(double seconds) {
    ++steps_;
    seconds_ += seconds;
  }

  void add(std::string_view op, std::string_view label, Pass pass, double seconds) {
    Row& row = at(op, label);
    (pass == Pass::forward    ? row.forward
     : pass == Pass::backward ? row.backward
                              : row.optimizer) += seconds;
  }

  /// Adds the time it lives. A null profile: does nothing.
  class Scope {
   public:
    Scope(Profile* profile, std::string_view op, std::string_view label, Pass pass)
        : profile_(profile), op_(op), label_(label), pass_(pass) {
      if (profile_) start_ = profile_->now_();
    }
    ~Scope() {
      if (profile_) profile_->add(op_, label_, pass_, profile_->now_() - start_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Profile* profile_;
    std::string_view op_, label_;
    Pass pass_;
    double start_ = 0;
  };

 private:
  /// Names are told apart by where they lie: a step repeats the same ones.
  Row& at(std::string_view op, std::string_view label) {
    for (Row& row : rows_) {
      if (row.op.data() == op.data() && row.label.data() == label.data()) return row;
    }
    return rows_.emplace_back(Row{op, label});
  }

  Clock now_;
  std::vector<Row> rows_{};
  std::int64_t steps_ = 0;
  double seconds_ = 0;
};

}  // namespace notch
