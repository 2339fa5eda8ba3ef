#include "vmm/deputy/bpf.hh"

#include <linux/filter.h>

#include <array>
#include <cstring>

namespace hpcvmm::deputy::bpf {
namespace {

constexpr std::uint16_t op(unsigned a, unsigned b = 0, unsigned c = 0) {
  return static_cast<std::uint16_t>(a | b | c);
}

/// Instructions whose only rule is that they exist.
bool plain(std::uint16_t code) {
  switch (code) {
    case op(BPF_LD, BPF_W, BPF_LEN):
    case op(BPF_LDX, BPF_W, BPF_LEN):
    case op(BPF_LD, BPF_IMM):
    case op(BPF_LDX, BPF_IMM):
    case op(BPF_MISC, BPF_TAX):
    case op(BPF_MISC, BPF_TXA):
    case op(BPF_RET, BPF_K):
    case op(BPF_RET, BPF_A):
    case op(BPF_ALU, BPF_ADD, BPF_K):
    case op(BPF_ALU, BPF_ADD, BPF_X):
    case op(BPF_ALU, BPF_SUB, BPF_K):
    case op(BPF_ALU, BPF_SUB, BPF_X):
    case op(BPF_ALU, BPF_MUL, BPF_K):
    case op(BPF_ALU, BPF_MUL, BPF_X):
    case op(BPF_ALU, BPF_DIV, BPF_X):
    case op(BPF_ALU, BPF_AND, BPF_K):
    case op(BPF_ALU, BPF_AND, BPF_X):
    case op(BPF_ALU, BPF_OR, BPF_K):
    case op(BPF_ALU, BPF_OR, BPF_X):
    case op(BPF_ALU, BPF_XOR, BPF_K):
    case op(BPF_ALU, BPF_XOR, BPF_X):
    case op(BPF_ALU, BPF_LSH, BPF_X):
    case op(BPF_ALU, BPF_RSH, BPF_X):
    case op(BPF_ALU, BPF_NEG): return true;
    default: return false;
  }
}

bool is_branch(std::uint16_t code) {
  switch (code) {
    case op(BPF_JMP, BPF_JEQ, BPF_K):
    case op(BPF_JMP, BPF_JEQ, BPF_X):
    case op(BPF_JMP, BPF_JGE, BPF_K):
    case op(BPF_JMP, BPF_JGE, BPF_X):
    case op(BPF_JMP, BPF_JGT, BPF_K):
    case op(BPF_JMP, BPF_JGT, BPF_X):
    case op(BPF_JMP, BPF_JSET, BPF_K):
    case op(BPF_JMP, BPF_JSET, BPF_X): return true;
    default: return false;
  }
}

/// One instruction by itself; `left` is how many follow it.
bool valid_alone(const Insn& i, std::size_t left) {
  if (plain(i.code)) return true;
  if (is_branch(i.code)) return i.jt < left && i.jf < left;
  switch (i.code) {
    case op(BPF_LD, BPF_W, BPF_ABS): return i.k < sizeof(Data) && i.k % 4 == 0;
    case op(BPF_ALU, BPF_DIV, BPF_K): return i.k != 0;
    case op(BPF_ALU, BPF_LSH, BPF_K):
    case op(BPF_ALU, BPF_RSH, BPF_K): return i.k < 32;
    case op(BPF_LD, BPF_MEM):
    case op(BPF_LDX, BPF_MEM):
    case op(BPF_ST):
    case op(BPF_STX): return i.k < BPF_MEMWORDS;
    case op(BPF_JMP, BPF_JA): return i.k < left;
    default: return false;
  }
}

/// Every path to a load of a memory word goes through a store to it.
bool stores_before_loads(std::span<const Insn> program) {
  std::array<std::uint16_t, kMaxInsns> reaching{};  // words written on every path that jumps here
  reaching.fill(0xffff);
  std::uint16_t written = 0;
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    const Insn& i = program[pc];
    written = static_cast<std::uint16_t>(written & reaching[pc]);
    const auto word = static_cast<std::uint16_t>(1U << (i.k % BPF_MEMWORDS));
    const auto jump = [&](std::size_t by) {
      std::uint16_t& there = reaching[pc + 1 + by];
      there = static_cast<std::uint16_t>(there & written);
    };
    if (i.code == op(BPF_ST) || i.code == op(BPF_STX)) {
      written = static_cast<std::uint16_t>(written | word);
    } else if (i.code == op(BPF_LD, BPF_MEM) || i.code == op(BPF_LDX, BPF_MEM)) {
      if ((written & word) == 0) return false;
    } else if (i.code == op(BPF_JMP, BPF_JA)) {
      jump(i.k);
      written = 0xffff;
    } else if (is_branch(i.code)) {
      jump(i.jt);
      jump(i.jf);
      written = 0xffff;
    }
  }
  return true;
}

struct Machine {
  std::uint32_t a = 0, x = 0;
  std::array<std::uint32_t, BPF_MEMWORDS> memory{};
};

/// False: division by zero.
bool arithmetic(Machine& m, const Insn& i) {
  const std::uint32_t v = BPF_SRC(i.code) == BPF_X ? m.x : i.k;
  switch (BPF_OP(i.code)) {
    case BPF_ADD: m.a += v; break;
    case BPF_SUB: m.a -= v; break;
    case BPF_MUL: m.a *= v; break;
    case BPF_DIV:
      if (v == 0) return false;
      m.a /= v;
      break;
    case BPF_AND: m.a &= v; break;
    case BPF_OR: m.a |= v; break;
    case BPF_XOR: m.a ^= v; break;
    case BPF_LSH: m.a <<= v & 31U; break;  // Linux masks the count of the X forms
    case BPF_RSH: m.a >>= v & 31U; break;
    default: m.a = 0U - m.a; break;  // BPF_NEG
  }
  return true;
}

std::size_t branch(const Machine& m, const Insn& i) {
  const std::uint32_t v = BPF_SRC(i.code) == BPF_X ? m.x : i.k;
  bool taken = false;
  switch (BPF_OP(i.code)) {
    case BPF_JEQ: taken = m.a == v; break;
    case BPF_JGT: taken = m.a > v; break;
    case BPF_JGE: taken = m.a >= v; break;
    case BPF_JSET: taken = (m.a & v) != 0; break;
    default: return i.k;  // BPF_JA
  }
  return taken ? i.jt : i.jf;
}

std::uint32_t load(const Machine& m, const Insn& i, const Data& data) {
  switch (BPF_MODE(i.code)) {
    case BPF_ABS: {
      std::uint32_t v = 0;
      std::memcpy(&v, reinterpret_cast<const char*>(&data) + i.k, sizeof v);
      return v;
    }
    case BPF_LEN: return sizeof(Data);
    case BPF_MEM: return m.memory[i.k];
    default: return i.k;  // BPF_IMM
  }
}

}  // namespace

bool valid(std::span<const Insn> program) {
  if (program.empty() || program.size() > kMaxInsns) return false;
  for (std::size_t pc = 0; pc < program.size(); ++pc)
    if (!valid_alone(program[pc], program.size() - pc - 1)) return false;
  if (BPF_CLASS(program.back().code) != BPF_RET) return false;
  return stores_before_loads(program);
}

std::uint32_t run(std::span<const Insn> program, const Data& data) {
  Machine m;
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    const Insn& i = program[pc];
    switch (BPF_CLASS(i.code)) {
      case BPF_LD: m.a = load(m, i, data); break;
      case BPF_LDX: m.x = load(m, i, data); break;
      case BPF_ST: m.memory[i.k] = m.a; break;
      case BPF_STX: m.memory[i.k] = m.x; break;
      case BPF_ALU:
        if (!arithmetic(m, i)) return 0;
        break;
      case BPF_JMP: pc += branch(m, i); break;
      case BPF_RET: return BPF_RVAL(i.code) == BPF_A ? m.a : i.k;
      default: (BPF_MISCOP(i.code) == BPF_TXA ? m.a : m.x) = BPF_MISCOP(i.code) == BPF_TXA ? m.x : m.a; break;
    }
  }
  return 0;
}

}  // namespace hpcvmm::deputy::bpf
