// Vocabulary: what the files of a byte-level tokenizer say, whichever of the forms they have.
//
// Apart from the readers because there are two (vocab_files.h, tokenizer_json.h) of one meaning.
// A token is spelled with one printable code point per byte: bytes 33..126, 161..172 and 174..255
// stand for themselves, the other 68 are U+0100 and up in ascending order (a space is U+0120).
// Source: Radford et al. 2019, bytes_to_unicode in their encoder.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/base/json.h"
#include "data/bpe.h"
#include "data/companions.h"
#include "data/pre_tokenizer.h"

namespace notch::data {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";
inline constexpr std::size_t kMaxTokens = std::size_t{1} << 20;

/// A token that a text is searched for before everything else, and that stands for itself.
struct AddedToken {
  std::int32_t id = 0;
  bool special = true;      ///< other programs can leave it out when they decode
  bool normalized = false;  ///< searched for only between the ones that are not
};

struct Vocabulary {
  std::vector<std::string> tokens{};  ///< the bytes of every token by id
  std::vector<Merge> merges{};        ///< by rank
  std::vector<AddedToken> added{};    ///< by id, ascending
  PreTokenizer pre_tokenizer{};
  bool ignore_merges = false;  ///< a word that is a token is that token, whatever the merges make
  bool nfc = false;            ///< texts are to be in NFC; encode refuses what it might change
  Json post_processor{};       ///< of tokenizer.json; kept, not used: nothing is put around a text
  Companions companions{};     ///< of the directory it was read from; carried

  bool is_added(std::int32_t id) const;
};

/// The code point that spells a byte.
char32_t letter_of(unsigned char byte);

/// The printable UTF-8 spelling of `bytes`.
std::string spell(std::string_view bytes);

/// The bytes that `spelling` (valid UTF-8) stands for; nothing when a code point is not in the
/// alphabet.
std::optional<std::string> unspell(std::string_view spelling);

/// As the files have it: spelled, but an added token as it is.
std::string spelling_of(const Vocabulary& vocabulary, std::int32_t id);

/// Whether a token looks special: in <> or in [], as <|endoftext|> and [PAD] are.
bool looks_special(std::string_view spelling);

/// Of every token whether it is a byte or a merge makes it.
std::vector<bool> reachable(const Vocabulary& vocabulary);

/// Throws Fault::input about a tokenizer's file.
[[noreturn]] void refuse_vocabulary(std::string where, std::string what, std::string field,
                                    std::string found, std::string expected,
                                    std::string hint =
                                        "use the files of a tokenizer that were "
                                        "saved together");

/// Checks that `ids`, names and ids in a file's order, are 0..n-1 without gap or duplicate and not
/// too many; returns the names by id. Throws Fault::input otherwise.
std::vector<std::string> by_id(const std::string& where,
                               const std::vector<std::pair<std::string, std::int64_t>>& ids);

/// Turns spelled merges into ids.
class MergeReader {
 public:
  /// Which parts a merge may have: of GPT-2's files, bytes and the results of earlier merges; a list
  /// that was made from ranked tokens (Llama 3's) has them in any order.
  enum class Parts { made_before, any };

  /// `bytes` of every token by id; nothing: a token that no merge can name.
  MergeReader(const std::vector<std::optional<std::string>>& bytes, Parts parts);

  /// The merge of two spelled tokens; several may make the same token. `where` names it in the error
  /// (Fault::input): the parts and the result must be tokens, and the pair new.
  Merge merge(std::string_view left, std::string_view right, const std::string& where);

  /// What a token is in a file that need not say which are special. Ordinary: a byte or the result
  /// of a merge; else special if it looks so; any other is one that no text becomes, so the merges
  /// do not belong to the tokens. To be asked after the last merge.
  enum class Kind { ordinary, special, unreachable };
  Kind kind(std::size_t id, std::string_view spelling) const;

 private:
  std::int32_t part(std::string_view spelling, const std::string& where) const;

  Parts parts_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<bool> made_;
  std::set<std::pair<std::int32_t, std::int32_t>> pairs_;
};

}  // namespace notch::data
