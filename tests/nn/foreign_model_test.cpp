// Model directories as other programs write them: read, or refused with the form and the way out.
#include <algorithm>

#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/held_model.h"

namespace foreign_model_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::Held;
using notch::test::held;
using notch::test::named;
using notch::test::random_model;
using notch::test::read_config;
using notch::test::same_bits;
using notch::test::small;
using notch::test::TemporaryDirectory;
using notch::test::write;

TEST_CASE("a config is read as other programs write it") {
  GptConfig expected = small();
  expected.dropout = 0.1;
  const auto read = [](const std::string& members) {
    const TemporaryDirectory dir;
    write_file(dir / kConfigFile, R"({"model_type": "gpt2", "vocab_size": 11, )" + members + "}");
    return read_config(dir.path());
  };
  const std::string sizes = R"("n_positions": 6, "n_layer": 2, "n_head": 2, "n_embd": 4)";
  const auto with = [&](const std::string& members) { return read(sizes + ", " + members); };
  const auto gelu = [&](const char* name) {
    return with(str(R"("activation_function": ")", name, '"')).gelu;
  };
  for (const char* name : {"gelu", "gelu_python"}) CHECK(gelu(name) == Gelu::exact);
  for (const char* name :
       {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"}) {
    CHECK(gelu(name) == Gelu::tanh);
  }
  CHECK(error_of([&] { gelu("quick_gelu"); }).field == "activation_function");

  expected.gelu = Gelu::tanh;
  CHECK(read(sizes) == expected);
  // 1e-5 as a float has it; dropout that only training uses; null for absent; Python's numbers.
  for (const char* members :
       {R"("layer_norm_epsilon": 9.999999747378752e-06)", R"("attn_pdrop": 0.3, "resid_pdrop": 0)",
        R"("quantization_config": null, "notch": null, "n_inner": null, "attn_pdrop": null)",
        R"("task_params": {"limit": Infinity, "low": -Infinity, "x": NaN})",
        R"("reorder_and_upcast_attn": true, "n_inner": 16, "hidden_size": 4)",
        R"("n_ctx": 3, "pruned_heads": {})"}) {
    CAPTURE(members);
    CHECK(with(members) == expected);
  }
  CHECK(read(R"("max_position_embeddings": 6, "num_hidden_layers": 2, "num_attention_heads": 2,
                "hidden_size": 4)") == expected);
  CHECK(read(R"("n_ctx": 6, "n_layer": 2, "n_head": 2, "n_embd": 4)") == expected);
  for (const char* members : {R"("layer_norm_epsilon": 0)", R"("layer_norm_epsilon": Infinity)",
                              R"("embd_pdrop": NaN)", R"("n_inner": Infinity)", R"("n_inner": 0)",
                              R"("hidden_size": 8)", R"("pruned_heads": {"0": [1]})"}) {
    CAPTURE(members);
    CHECK(error_of([&] { with(members); }).fault == Fault::input);
  }

  const TemporaryDirectory dir;
  const auto model = random_model(small());
  save_model(*model, dir.path(), Json::object().set("quantization_config", Json()));
  write_file(dir / kConfigFile, "\xEF\xBB\xBF" + read_file(dir / kConfigFile));  // as Windows saves
  CHECK(same_bits(*load_model(dir.path()), *model));
}

TEST_CASE("a tied table is read under either name, an untied one under one") {
  const TemporaryDirectory dir;
  const auto model = random_model(small());
  save_model(*model, dir.path());
  const std::vector<Held> good = held(dir / kWeightsFile);
  for (const bool prefixed : {false, true}) {
    std::vector<Held> tensors = good;
    for (Held& t : tensors) {
      if (t.name == "wte.weight") {
        t.name = "lm_head.weight";
      } else if (prefixed) {
        t.name = "transformer." + t.name;
      }
    }
    write(dir / kWeightsFile, tensors);
    CHECK(same_bits(*load_model(dir.path()), *model));
    tensors.push_back({"x", {1}, {0}});
    write(dir / kWeightsFile, tensors);
    CHECK(error_of([&] { load_model(dir.path()); }).field == "x");
  }

  GptConfig config = small();
  config.tie_embeddings = false;
  const auto untied = random_model(config);
  const auto copies = untied->params().find("lm_head.weight")->value.flat();
  std::ranges::copy(copies, untied->params().find("wte.weight")->value.data);
  save_model(*untied, dir.path());
  for (const char* lost : {"transformer.wte.weight", "lm_head.weight"}) {
    std::vector<Held> tensors = held(dir / kWeightsFile);
    std::erase_if(tensors, [&](const Held& t) { return t.name == lost; });
    const TemporaryDirectory other;
    save_model(*untied, other.path());
    write(other / kWeightsFile, tensors);
    CHECK(error_of([&] { load_model(other.path()); }).field == lost);
    // Shared in memory by the program that wrote it: the metadata has the name that was kept.
    const char* kept = lost[0] == 'l' ? "transformer.wte.weight" : "lm_head.weight";
    std::vector<TensorSource> sources;
    for (const Held& t : tensors) sources.push_back(real_tensor(t.name, t.shape, t.values));
    write_safetensors(other / kWeightsFile, sources, {{"format", "pt"}, {lost, kept}});
    CHECK(same_bits(*load_model(other.path()), *untied));
  }
}

TEST_CASE("wrapper names and nn.Linear matrices are refused with advice") {
  const TemporaryDirectory dir;
  save_model(*random_model(small()), dir.path());
  const std::vector<Held> good = held(dir / kWeightsFile);
  for (const std::string prefix : {"_orig_mod.transformer.", "module.transformer.", "model."}) {
    std::vector<Held> tensors = good;
    for (Held& t : tensors) t.name = prefix + t.name;
    write(dir / kWeightsFile, tensors);
    const ErrorParts e = error_of([&] { load_model(dir.path()); });
    CHECK(e.fault == Fault::input);
    CHECK(e.found.find('"' + prefix + '"') != std::string::npos);
    CHECK(e.hint.find("prefix") != std::string::npos);
  }
  std::vector<Held> tensors = good;
  Held& c_fc = named(tensors, "h.0.mlp.c_fc.weight");
  std::swap(c_fc.shape[0], c_fc.shape[1]);
  write(dir / kWeightsFile, tensors);
  const ErrorParts e = error_of([&] { load_model(dir.path()); });
  CHECK(e.field == "h.0.mlp.c_fc.weight");
  CHECK(e.hint.find("transpose") != std::string::npos);
}

TEST_CASE("a directory with weights in another form is told which, and advice") {
  const struct {
    const char *file, *word;
  } forms[] = {{"model-00001-of-00002.safetensors", "index"},
               {"model.fp16.safetensors", "another name"},
               {"adapter_model.safetensors", "adapter"},
               {"pytorch_model.bin", "pickle"},
               {"pytorch_model.bin.index.json", "pickle"},
               {"tf_model.h5", "TensorFlow"},
               {"flax_model.msgpack", "Flax"},
               {"model.ckpt.index", "TensorFlow"},
               {"model-Q4_K_M.gguf", "GGUF"},
               {"ckpt.pt", "PyTorch"},
               {"model.onnx", "ONNX"}};
  for (const auto& form : forms) {
    CAPTURE(form.file);
    const TemporaryDirectory dir;
    save_model(*random_model(small()), dir.path());
    fs::rename(dir / kWeightsFile, dir / form.file);
    const ErrorParts e = error_of([&] { load_model(dir.path()); });
    CHECK(e.fault == Fault::io);
    CHECK(e.found.find(form.word) != std::string::npos);
    CHECK(e.found.find(form.file) != std::string::npos);
    CHECK_FALSE(e.hint.empty());
  }
}

}  // namespace foreign_model_test
