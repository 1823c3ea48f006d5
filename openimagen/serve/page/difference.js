// Where a restored picture differs from the one that was lost: what the model imagined.

const VISIBLE = 0.3; // of the range of 2: less is not seen at a glance
const GROUND = 0.88; // a pixel whose darkest colour is above this is white ground

// {share, imagined}: the share of the thing that differs, and a picture that greys out what was kept.
export function compare(x, restored) {
  let [differing, things] = [0, 0];
  const imagined = new Float32Array(x.length);
  for (let place = 0; place < x.length; place += 3) {
    const [a, b] = [x.subarray(place, place + 3), restored.subarray(place, place + 3)];
    const apart = Math.max(...a.map((value, colour) => Math.abs(value - b[colour])));
    const thing = Math.min(...a) < GROUND || Math.min(...b) < GROUND;
    const differs = apart > VISIBLE;
    things += thing;
    differing += differs && thing;
    const grey = 0.55 + 0.45 * ((b[0] + b[1] + b[2]) / 3);
    for (let colour = 0; colour < 3; colour += 1) imagined[place + colour] = differs ? b[colour] : grey;
  }
  return { share: things ? differing / things : 0, imagined };
}

// In plain sentences. `without`, `within`: shares that differ without and with the caption.
export function wordsOf({ sigma, caption, without, within }) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  const kept = percent(1 - sigma * sigma);
  const words = [`At σ = ${sigma.toFixed(2)} the model saw ${kept} picture and ${percent(sigma * sigma)} noise, by energy. In colour is what it painted otherwise than it was; in grey what it found again.`];
  words.push(`Without the caption ${percent(without)} of the thing came out visibly different${caption ? `, with it ${percent(within)}` : ""}.`);
  if (without < 0.12 && within < 0.12) words.push("So little was lost that both found the same way back. Slide σ further up.");
  else if (within - without > 0.15) words.push("The caption said something else than the picture, and the model believed the caption.");
  else if (without - within > 0.1) words.push("Where the noise had hidden what it was, the caption told. Without it the model made up something that fits as well.");
  else if (within > 0.5) words.push(caption ? `What stands there is a “${caption}”, but not yours: yours was lost in the noise, and one was painted anew.` : "Yours was lost in the noise, and something else was painted.");
  else words.push("The large shapes outlived the noise and were found again. The detail did not, and was painted anew.");
  return words;
}
