"""Speech: noise and reverberation removed by a bridge from the noisy spectrogram to the clean one."""
