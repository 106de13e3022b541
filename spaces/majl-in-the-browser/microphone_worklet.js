// Sends what the microphone hears, mixed to one channel, to the port in the node's options, in blocks.

const BLOCK = 512; // samples: about 11 ms

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.port.onmessage = ({ data }) => (this.listener = data);
  }

  process([channels]) {
    for (let index = 0; index < (channels[0]?.length ?? 0); index++) {
      this.block[this.filled++] = channels.reduce((sum, channel) => sum + channel[index], 0) / channels.length;
      if (this.filled < BLOCK) continue;
      this.listener?.postMessage(this.block);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("majl-microphone", Microphone);
