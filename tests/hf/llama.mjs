// Prints as JSON what llama.cpp makes of a model: tokens of a text, text of those tokens, and for every position the
// most likely next tokens with the logarithms of their probabilities. Arguments: node_modules, model.gguf, text.
const [modules, path, text] = process.argv.slice(2);
const { getLlama, LlamaLogLevel } = await import(`${modules}/node-llama-cpp/dist/index.js`);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({ contextSize: 256, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" });
const sequence = context.getSequence();
const tokens = model.tokenize(text, false);
const asked = tokens.map((token) => [token, { generateNext: { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } }]);
const said = await sequence.controlledEvaluate(asked);
const logs = said.map(({ next }) => [...next.probabilities].slice(0, 5).map(([token, p]) => [token, Math.log(p)]));
console.log(JSON.stringify({ tokens: [...tokens], text: model.detokenize(tokens), logs }));
process.exit(0);
