// What the verbs that ask a running hpcd have in common: asking, tables, numbers as people read them.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/cluster/api_client.hh"
#include "cli/cluster/show.hh"

namespace hpcvmm::cli {

/// Says so on stderr; 1.
int fail(const std::string& what);
/// False after a message: nobody answered, or the request was refused.
bool ask(const AskRequest& r, const nlohmann::json& request, nlohmann::json& answer, int timeout_ms = 10'000,
         const std::function<void(const nlohmann::json&)>& progress = {});
void print_json(nlohmann::json answer);
/// Columns as wide as their widest cell; those in `right` have numbers.
std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right);
std::string fixed(double value, int digits);
/// 0: not a whole number from 1 to `most`.
unsigned long number_in(const std::string& text, unsigned long most);
/// A request about "PID" or "HOME:PID", or a text under "error".
nlohmann::json process_json(const char* op, const std::string& process);

}  // namespace hpcvmm::cli
